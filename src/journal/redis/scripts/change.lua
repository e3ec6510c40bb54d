-- What an operator, or whoever holds its capability, does with a record.
-- ARGV: prefix, id, 'cancel' | 'requeue' | 'forget', reason. Answers 'ok', 'gone', or the state that does not allow it.
local r = load(ARGV[2])
if not r then return 'gone' end
if ARGV[3] == 'cancel' then
  if settled[r.state] then return r.state end
  leave(r)
  redis.call('HSET', record(r.id), 'reason', ARGV[4])
  enter(r, 'cancelled')
elseif ARGV[3] == 'requeue' then
  if not attention[r.state] then return r.state end
  leave(r)
  r.deadline = now + r.ttl
  redis.call('HSET', record(r.id), 'forgiven', text(r.attempts), 'until', text(r.deadline), 'reason', ARGV[4])
  redis.call('HDEL', record(r.id), 'settled')
  enter(r, 'pending')
else
  if not settled[r.state] then return r.state end
  forget(r)
end
return 'ok'
