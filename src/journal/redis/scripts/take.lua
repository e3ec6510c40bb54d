-- Takes records to be delivered.
-- ARGV: prefix, uid, at most, concurrency, strict ('1'), lease in ms, name of this call, whether an answer to it was lost ('1'),
-- fields of what is called back ….
-- Answers {how many more wait, ms until the next is due or -1, record, record, …}, a record as {id, record, body, what is called
-- back …}: whoever takes it has it at once, and no claim is held by one that could not read it.
local uid, lease, name = ARGV[2], ARGV[6], ARGV[7]
local queue, resting = all(uid), later(uid)
local function part(which, what, ...)
  return call(what, queue, first_of(which), behind(which), ...)
end
even_without_memory()
for _, id in ipairs(call('ZRANGEBYSCORE', resting, '-inf', now, 'LIMIT', 0, 200)) do
  call('ZREM', resting, id)
  local r = load(id)
  if r then call('ZADD', queue, WAITS .. r.sequence, id) end
end
local taken = {}
if ARGV[8] == '1' then
  for _, id in ipairs(part(DELIVERED, 'ZRANGEBYSCORE')) do
    local r = load(id)
    if r and r.taker == name then
      time(r, CLAIMED, from_now(lease))
      taken[#taken + 1] = r
    end
  end
end
local busy = part(DELIVERED, 'ZCOUNT')
local room = math.min(tonumber(ARGV[3]), tonumber(ARGV[4]) - busy)
if ARGV[5] == '1' then
  -- One that waits for its next delivery holds up all behind it.
  room = math.min(room, 1 - busy)
  if call('ZCARD', resting) > 0 then room = 0 end
end
while room > 0 do
  local ids = part(WAITS, 'ZRANGEBYSCORE', 'LIMIT', 0, room)
  if not ids[1] then break end
  for _, id in ipairs(ids) do
    local r = load(id)
    if not r then
      call('ZREM', queue, id)
    elseif tonumber(r.deadline) <= now then
      expire(r)
    else
      leave(r)
      r.token, r.attempts, r.taker = r.token + 1, r.attempts + 1, name
      enter(r, 'claimed', from_now(lease))
      taken[#taken + 1] = r
      room = room - 1
    end
  end
  flush()
end
flush()
local due = call('ZRANGE', resting, 0, 0, 'WITHSCORES')[2]
local said = { part(WAITS, 'ZCOUNT'), due and math.max(0, due - now) or -1 }
for _, r in ipairs(taken) do
  local row = { r.id, call('GET', record(r.id)), call('GET', body(r.id)) or '' }
  if r.called == '1' then
    for k, value in ipairs(call('HMGET', callback(r.id), unpack(ARGV, 9))) do row[3 + k] = value end
  end
  said[#said + 1] = row
end
return said
