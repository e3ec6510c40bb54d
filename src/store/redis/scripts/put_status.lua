-- Publishes a status, if the agent is still of this life and the status is another one.
-- Answers 1 when it was written, 0 when there was nothing to write, -1 when the writer's lease has passed on.
-- KEYS: agents, statuses, version, changes, lease. ARGV: changes kept, name, uid, status as JSON, the writer's last term or 0.
local agents, statuses, counter, changes, lease = unpack(KEYS)
local kept, name, uid, status, term = unpack(ARGV)
if term ~= '0' and tonumber(redis.call('HGET', lease, 'term') or '0') > tonumber(term) then return -1 end
local now = head(agents, name)
if not now or now.uid ~= uid or redis.call('HGET', statuses, name) == status then return 0 end
local version = position(counter, changes) + 1
redis.call('HSET', statuses, name, status)
publish(changes, kept, version, name, 'status')
redis.call('SET', counter, text(version))
return 1
