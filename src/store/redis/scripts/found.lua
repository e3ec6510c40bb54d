-- Makes the store ours unless it is somebody's. KEYS: cluster, version, changes. ARGV: id, epoch, lowest first version.
-- The versions of a store that was wiped and founded again begin above all that it ever gave, so that no old position fits.
local cluster, counter, changes = unpack(KEYS)
if redis.call('HEXISTS', cluster, 'id') == 0 then
  redis.call('HSET', cluster, 'id', ARGV[1], 'epoch', ARGV[2])
  redis.call('SET', counter, text(math.max(position(counter, changes), tonumber(ARGV[3]))))
end
return redis.call('HMGET', cluster, 'id', 'epoch')
