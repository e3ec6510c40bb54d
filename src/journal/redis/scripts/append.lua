-- Adds events to a run. The oldest make room for the newest, and leave a gap in the numbers.
-- ARGV: prefix, id, token, number of the last, most bytes of a record's events, max bytes in all, {number, lines, id} ….
-- Answers whether the claim was held still.
local r = load(ARGV[2])
if not r or r.state ~= 'claimed' or r.token ~= ARGV[3] then return 0 end
local key, run = events(r.id), tonumber(ARGV[3])
local v = redis.call('HMGET', record(r.id), 'events-run', 'events-number', 'events-bytes')
local number = tonumber(v[1] or '0') == run and tonumber(v[2]) or 0
local before = tonumber(v[3] or '0')
local size = before
for k = 7, #ARGV, 3 do
  local n = tonumber(ARGV[k])
  if n > number then
    redis.call('XADD', key, ARGV[3] .. '-' .. ARGV[k], 'l', ARGV[k + 1], 'i', ARGV[k + 2])
    size = size + #ARGV[k + 1] + #ARGV[k + 2] + 64
    number = n
  end
end
number = math.max(number, tonumber(ARGV[4]))
redis.call('HSET', record(r.id), 'events-run', ARGV[3], 'events-number', text(number))
local fits = make_room(size - before, tonumber(ARGV[6]))
while size > tonumber(ARGV[5]) or (not fits and size > 0) do
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if not first then
    size = 0
    break
  end
  redis.call('XDEL', key, first[1])
  size = size - #first[2][2] - #first[2][4] - 64
  fits = total() + size - before <= tonumber(ARGV[6])
end
redis.call('HSET', record(r.id), 'events-bytes', text(size))
resize(r, r.size + size - before)
return 1
