-- Reserves the next incarnation of an ordinal and moves the address cursor on.
-- KEYS: incarnations of this life, address cursor. ARGV: ordinal, the incarnation to stay above.
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
local next = math.max(last, tonumber(ARGV[2])) + 1
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', next))
return { next, redis.call('INCR', KEYS[2]) }
