-- Names an agent's records, the latest admitted first.
-- ARGV: prefix, uid, before this place in the order of admission or '', at most, states ….
-- Answers {place to go on before, or '' when that is all, id, …}: it holds up all others, and so looks at some states alone.
local LOOKS = 2000
local some, wanted, most, found, parts = #ARGV > 4, {}, tonumber(ARGV[4]), {}, {}
for k = 5, #ARGV do wanted[ARGV[k]] = true end

-- The latest of a part that was not read yet.
local function next_of(part)
  if part.k > #part.page then
    part.page = call('ZREVRANGEBYSCORE', all(ARGV[2]), '(' .. part.before, part.from, 'WITHSCORES', 'LIMIT', 0, 200)
    part.k, part.before = 1, part.page[#part.page]
  end
  return part.page[1] and part.page[part.k + 1] - part.from
end

local function look_into(part)
  local before = ARGV[3] == '' and '9999999999999' or string.format('%013d', ARGV[3])
  parts[#parts + 1] = { from = first_of(part), before = part .. before, page = {}, k = 1 }
end
if some then
  local of, there, into = sum(ARGV[2]), 0, {}
  for state in pairs(wanted) do
    local many = tonumber(of[at[state]])
    there = there + many
    if many > 0 then
      if state == 'pending' or state == 'retrying' then into[WAITS] = true end
      if state == 'retrying' then into[RESTS] = true end
      if state == 'claimed' then into[DELIVERED] = true end
      if state == 'claimed' or settled(state) then into[ELSE] = true end
    end
  end
  most = math.min(most, there)
  for part in pairs(into) do look_into(part) end
else
  for _, part in ipairs({ WAITS, RESTS, DELIVERED, ELSE }) do look_into(part) end
end

local looks, go_on = 0, ''
while #found < most do
  local latest, at_most
  for k = #parts, 1, -1 do
    local at_place = next_of(parts[k])
    if not at_place then
      table.remove(parts, k)
    elseif not latest or at_place > at_most then
      latest, at_most = parts[k], at_place
    end
  end
  if not latest then break end
  if looks == LOOKS then
    go_on = string.format('%d', at_most + 1)
    break
  end
  local id = latest.page[latest.k]
  latest.k = latest.k + 2
  if some then
    looks = looks + 1
    -- A record begins with its state, and no word of one is longer.
    if wanted[string.match(call('GETRANGE', record(id), 0, 9), '^[^\t]*')] then found[#found + 1] = id end
  else
    found[#found + 1] = id
  end
end
table.insert(found, 1, go_on)
return found
