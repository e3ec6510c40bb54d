-- What an operator, or whoever holds its capability, does with a record.
-- ARGV: prefix, id, 'cancel' | 'requeue' | 'forget', reason. Answers 'ok', 'gone', or the state that does not allow it.
local r = load(ARGV[2])
if not r then return 'gone' end
even_without_memory()
if ARGV[3] == 'cancel' then
  if settled(r.state) then return r.state end
  leave(r)
  r.reason = ARGV[4]
  enter(r, 'cancelled')
elseif ARGV[3] == 'requeue' then
  if not attention[r.state] then return r.state end
  leave(r)
  r.deadline, r.forgiven, r.settled, r.reason = from_now(r.ttl), r.attempts, '', ARGV[4]
  enter(r, 'pending')
else
  if not settled(r.state) then return r.state end
  forget(r)
end
flush()
return 'ok'
