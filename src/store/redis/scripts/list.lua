-- Everything, as of one moment. KEYS: agents, statuses, version, changes.
return { text(position(KEYS[3], KEYS[4])), redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]) }
