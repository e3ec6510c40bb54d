-- Gives up what waited for too long, and forgets what was settled long ago. ARGV: prefix. Answers how many.
local found = redis.call('ZRANGEBYSCORE', timers, '-inf', text(now), 'LIMIT', 0, 200)
for _, id in ipairs(found) do
  local r = load(id)
  if not r then
    redis.call('ZREM', timers, id)
  elseif settled[r.state] then
    forget(r)
  else
    expire(r)
  end
end
return #found
