-- Keeps a request, if there is room.
-- ARGV: prefix, id, uid, agent, state, head, body, capability, ttl in ms, max queue, max bytes, max bytes in all, reason, token, attempts,
-- lease in ms, scope of its key or '', hash of the request, salt, id of the record whose key it may take or '', URL to be
-- called back or ''.
-- Answers 'ok'; 'queue', 'bytes' or 'memory' for the bound that it would go over; or 'same <id>' or 'other <id>' for the record that has
-- its key.
local id, uid, agent, state, head, bytes = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if redis.call('EXISTS', record(id)) == 1 then return 'ok' end
local scope = ARGV[17]
if scope ~= '' then
  local there = redis.call('GET', key(uid, scope))
  if there and there ~= ARGV[20] and redis.call('EXISTS', record(there)) == 1 then
    return (redis.call('HGET', record(there), 'request') == ARGV[18] and 'same ' or 'other ') .. there
  end
end
local size = #head + #bytes + #ARGV[21] + 1024
local counts = of('counts', uid)
local function read() return redis.call('HMGET', counts, 'pending', 'claimed', 'retrying', 'bytes', 'admitted') end
local have = read()
local function had(at) return tonumber(have[at] or '0') end
if not settled[state] then
  if had(1) + had(2) + had(3) + 1 > tonumber(ARGV[10]) then return 'queue' end
  if had(4) + size > tonumber(ARGV[11]) then return 'bytes' end
end
local most = tonumber(ARGV[12])
if total() + size > most then
  if not make_room(size, most) then return 'memory' end
  -- This agent's last record may have gone, and its counts with it.
  have = read()
end
local place = redis.call('INCR', sequence)
local ttl = tonumber(ARGV[9])
local r = { id = id, uid = uid, sequence = place, size = size, ttl = ttl, deadline = now + ttl, live = state == 'claimed',
  callback = ARGV[21] ~= '' }
-- Each call costs Redis some microseconds, and as many more for its line in the file: all fields go in one.
local fields = { 'uid', uid, 'agent', agent, 'sequence', text(place), 'token', ARGV[14], 'attempts', ARGV[15], 'forgiven', '0',
  'head', head, 'length', text(#bytes), 'capability', ARGV[8], 'admitted', text(now), 'until', text(r.deadline), 'ttl', ARGV[9],
  'size', text(size), 'reason', ARGV[13], 'state', state }
local function also(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
if #bytes > LONG then redis.call('SET', body(id), bytes) else also('body', bytes) end
if r.live then also('live', '1') end
if r.callback then also('callback', ARGV[21]) end
if scope ~= '' then
  also('scope', scope)
  also('request', ARGV[18])
  also('salt', ARGV[19])
  redis.call('SET', key(uid, scope), id)
end
redis.call('HSET', record(id), unpack(fields))
redis.call('HINCRBY', totals, 'bytes', text(size))
-- The first of an agent's records, see forget().
if not have[5] then redis.call('HSET', agents, uid, agent) end
redis.call('ZADD', of('all', uid), text(place), id)
local admitted = text(had(5) + 1)
if state == 'pending' then
  redis.call('HSET', counts, 'admitted', admitted, 'pending', text(had(1) + 1), 'bytes', text(had(4) + size))
  redis.call('ZADD', of('waiting', uid), text(place), id)
  redis.call('ZADD', timers, text(r.deadline), id)
elseif r.live then
  redis.call('HSET', counts, 'admitted', admitted, 'claimed', text(had(2) + 1), 'bytes', text(had(4) + size))
  redis.call('ZADD', leases, text(now + tonumber(ARGV[16])), id)
else
  redis.call('HSET', counts, 'admitted', admitted)
  enter(r, state)
end
return 'ok'
