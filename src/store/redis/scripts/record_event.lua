-- Adds an event, or counts up one of the same agent and reason within the window.
-- KEYS: events, their order, the current ones.
-- ARGV: '<agent>/<reason>' (no agent: of the host), first seen, last seen in ms, count, record as JSON, window in ms, events kept.
local events, order, current = unpack(KEYS)
local subject, first, ms, count, json, window, kept = unpack(ARGV)
local id = redis.call('HGET', current, subject)
local old = id and redis.call('HGET', events, id)
local old_count, old_first, old_ms
if old then old_count, old_first, old_ms = string.match(old, '^(%d+) (%S+) (%-?%d+)\n') end
if old_count and tonumber(ms) - tonumber(old_ms) < tonumber(window) then
  count = string.format('%.0f', tonumber(old_count) + tonumber(count))
  first = old_first
else
  id = subject .. '/' .. ms
end
redis.call('HSET', events, id, count .. ' ' .. first .. ' ' .. ms .. '\n' .. json)
local newest = redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')[2]
redis.call('ZADD', order, tonumber(newest or '0') + 1, id)
redis.call('HSET', current, subject, id)
while redis.call('ZCARD', order) > tonumber(kept) do
  local oldest = redis.call('ZPOPMIN', order)[1]
  redis.call('HDEL', events, oldest)
  local of = string.match(oldest, '^(.*)/')
  if redis.call('HGET', current, of) == oldest then redis.call('HDEL', current, of) end
end
return id
