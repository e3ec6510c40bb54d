-- Ends claims. ARGV: prefix, and of each: id, token, state ('pending' gives it back), ms until it is due, reason, answer's head,
-- answer's body, length of both.
-- Answers for each whether it was held still; once more under the same claim and to the same end, it was.
local EACH, names, said = 8, {}, {}
for k = 2, #ARGV, EACH do names[#names + 1] = record(ARGV[k]) end
for n, text in ipairs(call('MGET', unpack(names))) do
  local id = ARGV[2 + (n - 1) * EACH]
  if not records[id] then records[id] = text and read(id, text) or false end
end

local function settle(id, token, state, after, reason, head, bytes_of, length)
  local r = records[id]
  if not r or r.token ~= token then return 0 end
  if r.state ~= 'claimed' then return r.state == state and 1 or 0 end
  leave(r)
  r.state = 'completed' -- of no queue for now
  if head ~= '' then
    grow(r, length - r.answered)
    r.answer, r.answered = head, length
    if bytes_of ~= '' then
      bytes[#bytes + 1] = answer(id)
      bytes[#bytes + 1] = bytes_of
    else
      gone[#gone + 1] = answer(id)
    end
  end
  r.reason = reason
  if state == 'pending' then r.attempts = r.attempts - 1 end
  enter(r, state, from_now(after))
  return 1
end

even_without_memory()
for k = 2, #ARGV, EACH do said[#said + 1] = settle(unpack(ARGV, k, k + EACH - 1)) end
flush()
return said
