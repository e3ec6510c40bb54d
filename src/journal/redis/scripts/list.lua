-- Names an agent's records, the latest admitted first.
-- ARGV: prefix, uid, before this place in the order of admission or '', at most, states ….
local wanted, most, found = {}, tonumber(ARGV[4]), {}
for k = 5, #ARGV do wanted[ARGV[k]] = true end

-- The latest of a part that was not read yet.
local function next_of(part)
  if part.k > #part.page then
    part.page = call('ZREVRANGEBYSCORE', all(ARGV[2]), '(' .. part.before, part.from, 'WITHSCORES', 'LIMIT', 0, 200)
    part.k, part.before = 1, part.page[#part.page]
  end
  return part.page[1] and part.page[part.k + 1] - part.from
end

local parts = {}
for _, part in ipairs({ WAITS, RESTS, DELIVERED, ELSE }) do
  local before = ARGV[3] == '' and '9999999999999' or string.format('%013d', ARGV[3])
  parts[#parts + 1] = { from = first_of(part), before = part .. before, page = {}, k = 1 }
end
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
  local id = latest.page[latest.k]
  latest.k = latest.k + 2
  local r = #ARGV == 4 or load(id)
  if r == true or (r and wanted[r.state]) then found[#found + 1] = id end
end
return found
