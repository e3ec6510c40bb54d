-- Shared by all scripts of the journal. ARGV[1] is the prefix of its keys, whose meaning stands in keys.rs. Time is Redis' own, in
-- milliseconds since 1970.
local prefix = ARGV[1]
local function record(id) return prefix .. 'record:' .. id end
local function body(id) return prefix .. 'body:' .. id end
local function answer(id) return prefix .. 'answer:' .. id end
local function events(id) return prefix .. 'events:' .. id end
local function of(kind, uid) return prefix .. kind .. ':' .. uid end
local function key(uid, scope) return prefix .. 'key:' .. uid .. ':' .. scope end
local timers, leases, done, agents = prefix .. 'timers', prefix .. 'leases', prefix .. 'done', prefix .. 'agents'
local totals, sequence, callbacks = prefix .. 'totals', prefix .. 'sequence', prefix .. 'callbacks'
local function text(number) return string.format('%.0f', number) end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

local settled = { completed = true, failed = true, unknown = true, dead = true, cancelled = true, expired = true }
local attention = { failed = true, unknown = true, dead = true }

-- A long body has a key of its own, so that reading a record never carries it.
local LONG = 16384
local function keep(id, field, key, bytes)
  if #bytes > LONG then
    redis.call('SET', key, bytes)
    redis.call('HDEL', record(id), field)
  else
    redis.call('HSET', record(id), field, bytes)
  end
end

local function load(id)
  local v = redis.call('HMGET', record(id), 'uid', 'state', 'token', 'attempts', 'sequence', 'size', 'ttl', 'until', 'live',
    'scope', 'callback')
  if not v[1] then return nil end
  return { id = id, uid = v[1], state = v[2], token = v[3], attempts = tonumber(v[4]), sequence = tonumber(v[5]),
    size = tonumber(v[6]), ttl = tonumber(v[7]), deadline = tonumber(v[8]), live = v[9] == '1', scope = v[10],
    callback = v[11] and true }
end

local function count(r, state, by)
  local counts = of('counts', r.uid)
  if redis.call('HINCRBY', counts, state, by) <= 0 then redis.call('HDEL', counts, state) end
end

local function queued(r, by)
  redis.call('HINCRBY', of('counts', r.uid), 'bytes', by)
end

local function resize(r, size)
  redis.call('HINCRBY', totals, 'bytes', size - r.size)
  if not settled[r.state] then queued(r, size - r.size) end
  r.size = size
  redis.call('HSET', record(r.id), 'size', text(size))
end

-- Takes it out of where its state has it.
local function leave(r)
  if r.state == 'pending' then
    redis.call('ZREM', of('waiting', r.uid), r.id)
  elseif r.state == 'retrying' then
    redis.call('ZREM', of('waiting', r.uid), r.id)
    redis.call('ZREM', of('later', r.uid), r.id)
  elseif r.state == 'claimed' then
    redis.call('ZREM', of('claimed', r.uid), r.id)
    redis.call('ZREM', leases, r.id)
    if r.live then
      r.live = false
      redis.call('HDEL', record(r.id), 'live')
    end
  else
    redis.call('ZREM', done, r.id)
    if r.callback then
      redis.call('ZREM', callbacks, r.id)
      redis.call('HDEL', record(r.id), 'callback-state', 'callback-reason', 'calls')
    end
  end
  count(r, r.state, -1)
  if not settled[r.state] then queued(r, -r.size) end
end

-- Puts it where its new state has it. `at`: when it is due, or until when its claim holds.
local function enter(r, state, at)
  r.state = state
  redis.call('HSET', record(r.id), 'state', state)
  count(r, state, 1)
  if not settled[state] then queued(r, r.size) end
  if state == 'pending' then
    redis.call('ZADD', of('waiting', r.uid), text(r.sequence), r.id)
  elseif state == 'retrying' then
    redis.call('ZADD', of('later', r.uid), text(at), r.id)
  elseif state == 'claimed' then
    -- What is live is no delivery from the queue, and takes no place of one.
    if not r.live then redis.call('ZADD', of('claimed', r.uid), text(at), r.id) end
    redis.call('ZADD', leases, text(at), r.id)
  end
  if settled[state] then
    redis.call('HINCRBY', of('counts', r.uid), 'ended:' .. state, 1)
    r.deadline = now + r.ttl
    redis.call('HSET', record(r.id), 'settled', text(now), 'until', text(r.deadline))
    if r.callback then
      -- Whoever shall be told is told first: until then it makes no room.
      redis.call('HSET', record(r.id), 'callback-state', 'waiting')
      redis.call('HINCRBY', record(r.id), 'callback-token', 1)
      redis.call('ZADD', callbacks, text(now), r.id)
    end
    if not attention[state] then
      if not r.callback then redis.call('ZADD', done, text(now), r.id) end
      -- Nobody sends it again.
      redis.call('HDEL', record(r.id), 'body')
      redis.call('DEL', body(r.id))
      local length = tonumber(redis.call('HGET', record(r.id), 'length'))
      if redis.call('HGET', record(r.id), 'dropped') ~= '1' then
        redis.call('HSET', record(r.id), 'dropped', '1')
        resize(r, r.size - length)
      end
    end
  end
  if state == 'claimed' then
    redis.call('ZREM', timers, r.id)
  else
    redis.call('ZADD', timers, text(r.deadline), r.id)
  end
end

local function forget(r)
  leave(r)
  redis.call('ZREM', timers, r.id)
  redis.call('ZREM', of('all', r.uid), r.id)
  redis.call('HINCRBY', totals, 'bytes', -r.size)
  redis.call('DEL', record(r.id), body(r.id), answer(r.id), events(r.id))
  -- Another may have taken its key.
  if r.scope and redis.call('GET', key(r.uid, r.scope)) == r.id then redis.call('DEL', key(r.uid, r.scope)) end
  if redis.call('EXISTS', of('all', r.uid)) == 0 then
    redis.call('HDEL', agents, r.uid)
    redis.call('DEL', of('counts', r.uid))
  end
end

local function total() return tonumber(redis.call('HGET', totals, 'bytes') or '0') end

-- Makes room for so many bytes more: what is settled and nobody need look at goes, the oldest first. Answers whether there is.
local function make_room(size, most)
  if total() + size <= most then return true end
  for _, old in ipairs(redis.call('ZRANGE', done, 0, 99)) do
    local r = load(old)
    if r then forget(r) else redis.call('ZREM', done, old) end
    if total() + size <= most then return true end
  end
  return false
end

local function expire(r)
  leave(r)
  redis.call('HSET', record(r.id), 'reason', 'it waited for longer than persistence.ttl')
  enter(r, 'expired')
end
