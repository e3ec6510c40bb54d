-- Reads a record's events. ARGV: prefix, id, '(' and the place that they are behind, at most.
-- Answers {run and number of the last that there was, {{place, {'l', lines, 'i', id}} …}}.
local v = call('HMGET', run(ARGV[2]), 'run', 'number')
return { v[1] or '0', v[2] or '0', call('XRANGE', events(ARGV[2]), ARGV[3], '+', 'COUNT', ARGV[4]) }
