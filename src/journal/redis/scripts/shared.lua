-- Shared by all scripts of the journal. ARGV[1] is the prefix of its keys, whose meaning stands in keys.rs. Time is Redis' own, in
-- milliseconds since 1970.
local prefix = ARGV[1]
local function record(id) return prefix .. 'record:' .. id end
local function body(id) return prefix .. 'body:' .. id end
local function answer(id) return prefix .. 'answer:' .. id end
local function of(kind, uid) return prefix .. kind .. ':' .. uid end
local timers, leases, done, agents = prefix .. 'timers', prefix .. 'leases', prefix .. 'done', prefix .. 'agents'
local totals, sequence = prefix .. 'totals', prefix .. 'sequence'
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
  local v = redis.call('HMGET', record(id), 'uid', 'state', 'token', 'attempts', 'sequence', 'size', 'ttl', 'until')
  if not v[1] then return nil end
  return { id = id, uid = v[1], state = v[2], token = v[3], attempts = tonumber(v[4]), sequence = tonumber(v[5]),
    size = tonumber(v[6]), ttl = tonumber(v[7]), deadline = tonumber(v[8]) }
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
  else
    redis.call('ZREM', done, r.id)
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
    redis.call('ZADD', of('claimed', r.uid), text(at), r.id)
    redis.call('ZADD', leases, text(at), r.id)
  end
  if settled[state] then
    r.deadline = now + r.ttl
    redis.call('HSET', record(r.id), 'settled', text(now), 'until', text(r.deadline))
    if not attention[state] then
      redis.call('ZADD', done, text(now), r.id)
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
  redis.call('DEL', record(r.id), body(r.id), answer(r.id))
  if redis.call('EXISTS', of('all', r.uid)) == 0 then
    redis.call('HDEL', agents, r.uid)
    redis.call('DEL', of('counts', r.uid))
  end
end

local function expire(r)
  leave(r)
  redis.call('HSET', record(r.id), 'reason', 'it waited for longer than persistence.ttl')
  enter(r, 'expired')
end
