-- Ends a callback's call. ARGV: prefix, id, token, state ('waiting': once more), ms until that is due, reason.
-- Answers whether it was held still; once more under the same token and to the same end, it was.
local r = load(ARGV[2])
if not r then return 0 end
local v = call('HMGET', callback(r.id), 'token', 'state')
if v[1] ~= ARGV[3] then return 0 end
if v[2] ~= 'waiting' then return v[2] == ARGV[4] and 1 or 0 end
even_without_memory()
call('HSET', callback(r.id), 'state', ARGV[4], 'reason', ARGV[6])
if ARGV[4] == 'waiting' then
  call('ZADD', callbacks, now + ARGV[5], r.id)
else
  call('ZREM', callbacks, r.id)
  -- Now it may make room.
  if settled(r.state) and not attention[r.state] then time(r, DONE, r.deadline) end
end
flush()
return 1
