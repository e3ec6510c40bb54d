-- Keeps a request, if there is room.
-- ARGV: prefix, id, uid, agent, state, head, body, capability, ttl in ms, max queue, max bytes, max bytes in all, reason.
-- Answers 'ok', or 'queue', 'bytes' or 'memory' for the bound that it would go over.
local id, uid, agent, state, head, bytes = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if redis.call('EXISTS', record(id)) == 1 then return 'ok' end
local size = #head + #bytes + 1024
local counts = redis.call('HMGET', of('counts', uid), 'pending', 'claimed', 'retrying', 'bytes')
local held = tonumber(counts[1] or '0') + tonumber(counts[2] or '0') + tonumber(counts[3] or '0')
if state == 'pending' then
  if held + 1 > tonumber(ARGV[10]) then return 'queue' end
  if tonumber(counts[4] or '0') + size > tonumber(ARGV[11]) then return 'bytes' end
end
-- What is settled and nobody need look at makes room, the oldest first.
local all, most = tonumber(redis.call('HGET', totals, 'bytes') or '0'), tonumber(ARGV[12])
if all + size > most then
  for _, old in ipairs(redis.call('ZRANGE', done, 0, 99)) do
    local r = load(old)
    if r then
      all = all - r.size
      forget(r)
    else
      redis.call('ZREM', done, old)
    end
    if all + size <= most then break end
  end
  if all + size > most then return 'memory' end
end
local place = redis.call('INCR', sequence)
local ttl = tonumber(ARGV[9])
local r = { id = id, uid = uid, sequence = place, size = size, ttl = ttl, deadline = now + ttl }
redis.call('HSET', record(id), 'uid', uid, 'agent', agent, 'sequence', text(place), 'token', '0', 'attempts', '0', 'forgiven', '0',
  'head', head, 'length', #bytes, 'capability', ARGV[8], 'admitted', text(now), 'until', text(r.deadline), 'ttl', text(ttl),
  'size', text(size), 'reason', ARGV[13])
if state ~= 'pending' then redis.call('HSET', record(id), 'attempts', '1') end
keep(id, 'body', body(id), bytes)
redis.call('HINCRBY', totals, 'bytes', size)
redis.call('HSET', agents, uid, agent)
redis.call('ZADD', of('all', uid), text(place), id)
enter(r, state, now)
return 'ok'
