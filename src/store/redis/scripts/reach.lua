-- From where to where the change stream reaches: the last version, and the first entry's id. KEYS: version, changes.
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
return { text(position(KEYS[1], KEYS[2])), first and first[1] or false }
