-- Shared by the journal's scripts. ARGV[1] is the prefix of its keys, whose meaning stands in keys.rs. Time is Redis' own, in
-- milliseconds since 1970.
--
-- A script changes what it read in tables of its own, and flush() writes it: each call costs Redis some microseconds, and as many
-- more for its line in the file, so that many records are written with few.
local prefix, call = ARGV[1], redis.call
local function record(id) return prefix .. 'record:' .. id end
local function body(id) return prefix .. 'body:' .. id end
local function answer(id) return prefix .. 'answer:' .. id end
local function events(id) return prefix .. 'events:' .. id end
local function run(id) return prefix .. 'run:' .. id end
local function callback(id) return prefix .. 'callback:' .. id end
local function all(uid) return prefix .. 'all:' .. uid end
local function later(uid) return prefix .. 'later:' .. uid end
local function key(uid, scope) return prefix .. 'key:' .. uid .. ':' .. scope end
local agents, times, callbacks = prefix .. 'agents', prefix .. 'times', prefix .. 'callbacks'
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Numbers of a record stay the text that they are: to make one of a number costs as much as a call.
local times_from_now = {}
-- The time in so many milliseconds, as text: of 13 digits, as a place in the order of admission is, and so of the year 2286 at most.
local function from_now(ms)
  local text = times_from_now[ms]
  if not text then
    text = string.format('%d', math.min(now + ms, 9999999999999))
    times_from_now[ms] = text
  end
  return text
end

-- A sorted set is several behind each other: the first of a score's 14 digits says which of them, the rest is the place in it.
-- Of all(uid), by admission: what waits, what waits for its time, what is in delivery, and all else.
local WAITS, RESTS, DELIVERED, ELSE = '0', '1', '2', '3'
-- Of times: settled and nobody need look at it, by when it is forgotten; all else, by when it is forgotten or given up; claimed, by
-- until when the claim holds.
local DONE, KEPT, CLAIMED = '0', '1', '2'
local function first_of(part) return part .. '0000000000000' end
local function behind(part) return '(' .. part + 1 .. '0000000000000' end

-- How many are in each state, in this order; then the bytes of what is not settled, and how many ever were admitted and came to each end.
local at = { pending = 1, claimed = 2, retrying = 3, completed = 4, failed = 5, unknown = 6, dead = 7, cancelled = 8, expired = 9 }
local BYTES, ADMITTED, ENDED, NAME = 10, 11, 8, 18
local function settled(state) return at[state] > 3 end
local attention = { failed = true, unknown = true, dead = true }

local sums, summed = {}, {}
-- An agent's numbers, to be changed; those of all, its bytes and the last place in the order of admission, under ''.
local function sum(uid)
  local of = sums[uid]
  if not of then
    of = {}
    for part in string.gmatch(call('HGET', agents, uid) or '', '[^\t]+') do of[#of + 1] = part end
    if not of[1] then
      for n = 1, uid == '' and 2 or NAME - 1 do of[n] = 0 end
    end
    sums[uid] = of
    summed[#summed + 1] = uid
  end
  return of
end

local records, changed = {}, {}
-- Its first line is what becomes of it, the second what it is; then come why it stands where it does, the head of its answer, and what it
-- was admitted with, which is no script's business.
local FORM = '^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\n]*)\n'
  .. '([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\n]*)\n()'
local function read(id, text)
  local r, from = { id = id }, nil
  r.state, r.token, r.attempts, r.forgiven, r.live, r.taker, r.streams, r.deadline, r.settled, r.size, r.answered,
    r.uid, r.sequence, r.admitted, r.ttl, r.length, r.called, r.scope, from = string.match(text, FORM)
  if not from then return nil end
  local reason_ends = string.find(text, '\n', from, true)
  local answer_ends = reason_ends and string.find(text, '\n', reason_ends + 1, true)
  if not answer_ends then return nil end
  r.reason, r.answer = string.sub(text, from, reason_ends - 1), string.sub(text, reason_ends + 1, answer_ends - 1)
  r.rest = string.sub(text, answer_ends + 1)
  records[id] = r
  return r
end

local function load(id)
  local r = records[id]
  if r == nil then
    local text = call('GET', record(id))
    r = text and read(id, text) or false
    records[id] = r
  end
  return r
end

-- Is to be written.
local function change(r)
  if not r.changed then
    r.changed = true
    changed[#changed + 1] = r
  end
end

local timed, placed, bytes, gone = {}, {}, {}, {}
local function time(r, part, when)
  timed[#timed + 1] = part .. when
  timed[#timed + 1] = r.id
end
local function place(r, part)
  local of = placed[r.uid]
  if not of then
    of = {}
    placed[r.uid] = of
  end
  of[#of + 1] = part .. r.sequence
  of[#of + 1] = r.id
end

-- Writes all that was changed. A record is written last: without it there is none, whatever else stands of it, should a transaction
-- be cut short; and what its state has no use for goes behind it.
local function flush()
  for uid, of in pairs(placed) do call('ZADD', all(uid), unpack(of)) end
  if timed[1] then call('ZADD', times, unpack(timed)) end
  local fields = {}
  for _, uid in ipairs(summed) do
    local of, left = sums[uid], uid == ''
    for n = 1, left and 0 or 9 do left = left or of[n] ~= 0 and of[n] ~= '0' end
    if left then
      fields[#fields + 1] = uid
      fields[#fields + 1] = table.concat(of, '\t')
    else
      call('HDEL', agents, uid)
    end
  end
  if fields[1] then call('HSET', agents, unpack(fields)) end
  for _, r in ipairs(changed) do
    if records[r.id] then
      bytes[#bytes + 1] = record(r.id)
      bytes[#bytes + 1] = r.state .. '\t' .. r.token .. '\t' .. r.attempts .. '\t' .. r.forgiven .. '\t' .. r.live .. '\t' .. r.taker
        .. '\t' .. r.streams .. '\t' .. r.deadline .. '\t' .. r.settled .. '\t' .. r.size .. '\t' .. r.answered .. '\n' .. r.uid .. '\t' .. r.sequence
        .. '\t' .. r.admitted .. '\t' .. r.ttl .. '\t' .. r.length .. '\t' .. r.called .. '\t' .. r.scope .. '\n' .. r.reason
        .. '\n' .. r.answer .. '\n' .. r.rest
    end
    r.changed = nil
  end
  if bytes[1] then call('MSET', unpack(bytes)) end
  if gone[1] then call('DEL', unpack(gone)) end
  sums, summed, changed, timed, placed, bytes, gone = {}, {}, {}, {}, {}, {}, {}
end

-- Redis out of memory carries out what a script writes once it has written something that takes none. For what must go on then.
local function even_without_memory() call('DEL', prefix .. 'nothing') end

-- What it takes, with its events.
local function weight(r) return r.size + (r.streams == '1' and call('HGET', run(r.id), 'bytes') or 0) end

-- It takes so much more.
local function grow(r, by)
  if by == 0 then return end
  local of = sum('')
  of[1] = of[1] + by
  if not settled(r.state) then
    of = sum(r.uid)
    of[BYTES] = of[BYTES] + by
  end
  r.size = r.size + by
  change(r)
end

-- Takes it out of where its state has it.
local function leave(r)
  local of, state = sum(r.uid), r.state
  of[at[state]] = of[at[state]] - 1
  if not settled(state) then
    of[BYTES] = of[BYTES] - weight(r)
    if state == 'retrying' then call('ZREM', later(r.uid), r.id) end
  elseif r.called == '1' then
    call('ZREM', callbacks, r.id)
    call('HDEL', callback(r.id), 'state', 'reason', 'calls')
  end
end

-- Puts it where its new state has it. `when`: when it is due, or until when its claim holds.
local function enter(r, state, when)
  local of = sum(r.uid)
  r.state = state
  of[at[state]] = of[at[state]] + 1
  if state == 'claimed' then
    -- What is live is no delivery from the queue, and takes no place of one.
    place(r, r.live == '1' and ELSE or DELIVERED)
    time(r, CLAIMED, when)
  else
    r.live, r.taker = '0', ''
    local part = KEPT
    if settled(state) then
      of[ENDED + at[state]] = of[ENDED + at[state]] + 1
      r.settled, r.deadline = from_now(0), from_now(r.ttl)
      if r.called == '1' then
        -- Whoever shall be told is told first: until then it makes no room.
        call('HSET', callback(r.id), 'state', 'waiting')
        call('HINCRBY', callback(r.id), 'token', 1)
        call('ZADD', callbacks, now, r.id)
      end
      if not attention[state] then
        if r.called ~= '1' then part = DONE end
        if r.length ~= '0' then
          -- Nobody sends it again.
          gone[#gone + 1] = body(r.id)
          grow(r, -r.length)
        end
      end
      place(r, ELSE)
    elseif state == 'retrying' then
      call('ZADD', later(r.uid), when, r.id)
      place(r, RESTS)
    else
      place(r, WAITS)
    end
    time(r, part, r.deadline)
  end
  if not settled(state) then of[BYTES] = of[BYTES] + weight(r) end
  change(r)
end
