-- Takes records to be delivered.
-- ARGV: prefix, uid, at most, concurrency, strict ('1'), lease in ms, names of fields ….
-- Answers {how many more wait, ms until the next is due or -1, record, record, …}, a record as {id, body, those fields …}: whoever takes
-- it has it at once, and no claim is held by one that could not read it.
local uid, most, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6])
local waiting, later = of('waiting', uid), of('later', uid)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', later, '-inf', text(now), 'LIMIT', 0, 200)) do
  redis.call('ZREM', later, id)
  local place = redis.call('HGET', record(id), 'sequence')
  if place then redis.call('ZADD', waiting, place, id) end
end
local busy = redis.call('ZCARD', of('claimed', uid))
local room = math.min(most, tonumber(ARGV[4]) - busy)
if ARGV[5] == '1' then
  -- One that waits for its next delivery holds up all behind it.
  room = math.min(room, 1 - busy)
  if redis.call('ZCARD', later) > 0 then room = 0 end
end
local taken = {}
while room > 0 do
  local id = redis.call('ZRANGE', waiting, 0, 0)[1]
  if not id then break end
  local r = load(id)
  if not r then
    redis.call('ZREM', waiting, id)
  elseif r.deadline <= now then
    expire(r)
  else
    leave(r)
    redis.call('HINCRBY', record(id), 'token', 1)
    redis.call('HINCRBY', record(id), 'attempts', 1)
    enter(r, 'claimed', now + lease)
    table.insert(taken, id)
    room = room - 1
  end
end
local due = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
local next = due[2] and math.max(0, tonumber(due[2]) - now) or -1
local answer = { text(redis.call('ZCARD', waiting)), text(next) }
for _, id in ipairs(taken) do
  local bytes = redis.call('HGET', record(id), 'body') or redis.call('GET', body(id)) or ''
  table.insert(answer, { id, bytes, unpack(redis.call('HMGET', record(id), unpack(ARGV, 7))) })
end
return answer
