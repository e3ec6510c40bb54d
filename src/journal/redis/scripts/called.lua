-- Ends a callback's call. ARGV: prefix, id, token, state ('waiting': once more), ms until that is due, reason.
-- Answers whether it was held still; once more under the same token and to the same end, it was.
local r = load(ARGV[2])
if not r then return 0 end
local v = redis.call('HMGET', record(r.id), 'callback-token', 'callback-state')
if v[1] ~= ARGV[3] then return 0 end
if v[2] ~= 'waiting' then return v[2] == ARGV[4] and 1 or 0 end
redis.call('HSET', record(r.id), 'callback-reason', ARGV[6])
if ARGV[4] == 'waiting' then
  redis.call('ZADD', callbacks, text(now + tonumber(ARGV[5])), r.id)
else
  redis.call('ZREM', callbacks, r.id)
  redis.call('HSET', record(r.id), 'callback-state', ARGV[4])
  -- Now it may make room.
  if settled[r.state] and not attention[r.state] then
    redis.call('ZADD', done, redis.call('HGET', record(r.id), 'settled'), r.id)
  end
end
return 1
