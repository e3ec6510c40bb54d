-- Adds events to a run. The oldest make room for the newest, and leave a gap in the numbers.
-- ARGV: prefix, id, token, number of the last, most bytes of a record's events, max bytes in all, {number, lines, id} ….
-- Answers whether the claim was held still.
local r = load(ARGV[2])
if not r or r.state ~= 'claimed' or r.token ~= ARGV[3] then return 0 end
local stream, most = events(r.id), tonumber(ARGV[6])
local v = call('HMGET', run(r.id), 'run', 'number', 'bytes')
local number = v[1] == ARGV[3] and tonumber(v[2]) or 0
local before = tonumber(v[3] or '0')
local size = before
for k = 7, #ARGV, 3 do
  local n = tonumber(ARGV[k])
  if n > number then
    call('XADD', stream, ARGV[3] .. '-' .. ARGV[k], 'l', ARGV[k + 1], 'i', ARGV[k + 2])
    size = size + #ARGV[k + 1] + #ARGV[k + 2] + 64
    number = n
  end
end
local fits = make_room(size - before, most)
while size > tonumber(ARGV[5]) or (not fits and size > 0) do
  local first = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if not first then
    size = 0
    break
  end
  call('XDEL', stream, first[1])
  size = size - #first[2][2] - #first[2][4] - 64
  fits = sum('')[1] + size - before <= most
end
call('HSET', run(r.id), 'run', ARGV[3], 'number', math.max(number, ARGV[4]), 'bytes', size)
if r.streams ~= '1' then
  r.streams = '1'
  change(r)
end
local of_all, of_agent = sum(''), sum(r.uid)
of_all[1], of_agent[BYTES] = of_all[1] + size - before, of_agent[BYTES] + size - before
flush()
return 1
