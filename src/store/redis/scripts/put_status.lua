-- Publishes a status, if the agent is still of this life and as it was read, and the status is another one.
-- Answers {1, _} when it was written, {0, _} when there was nothing to write, {-1, _} when the writer's lease has passed on, and
-- {-2, the object's version} when that is another one.
-- KEYS: agents, statuses, version, changes, lease.
-- ARGV: changes kept, name, uid, version read, status as JSON, the writer's last term or 0.
local agents, statuses, counter, changes, lease = unpack(KEYS)
local kept, name, uid, read, status, term = unpack(ARGV)
if term ~= '0' and tonumber(redis.call('HGET', lease, 'term') or '0') > tonumber(term) then return { -1, '0' } end
local now = head(agents, name)
if not now or now.uid ~= uid or redis.call('HGET', statuses, name) == status then return { 0, '0' } end
if now.version ~= read then return { -2, now.version } end
local version = position(counter, changes) + 1
redis.call('HSET', statuses, name, status)
publish(changes, kept, version, name, 'status')
redis.call('SET', counter, text(version))
return { 1, '0' }
