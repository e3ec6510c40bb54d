-- Keeps requests, each if there is room for it.
-- ARGV: prefix, max bytes in all, and of each: id, uid, agent, state, body, its length, all that is no script's business, what all that takes,
-- ttl in ms, max queue, max bytes, lease in ms, scope of its key or '', id of the record whose key it may take or '', URL to be called back or ''.
-- Answers for each 'ok'; 'queue', 'bytes' or 'memory' for the bound that it would go over; or 'same <id>' or 'other <id>' for the
-- record that has its key.
local EACH, most = 15, tonumber(ARGV[2])
local BEGUN = { pending = '0', claimed = '1', unknown = '0' }
local names, said = {}, {}
for k = 3, #ARGV, EACH do names[#names + 1] = record(ARGV[k]) end
-- Nearly always there is none.
local repeated = call('EXISTS', unpack(names)) > 0

local function admit(id, uid, agent, state, bytes_of, length, rest, size, ttl, max_queue, max_bytes, lease, scope, replaces, url)
  if records[id] or (repeated and load(id)) then return 'ok' end
  if scope ~= '' then
    local there = call('GET', key(uid, scope))
    local other = there and there ~= replaces and load(there)
    if other then
      -- The hash of the request is the third of what they were admitted with.
      local hash = '^[^\t]*\t[^\t]*\t([^\t]*)'
      return (string.match(other.rest, hash) == string.match(rest, hash) and 'same ' or 'other ') .. there
    end
  end
  local of = sum(uid)
  if state ~= 'unknown' then
    if of[1] + of[2] + of[3] + 1 > tonumber(max_queue) then return 'queue' end
    if of[BYTES] + size > tonumber(max_bytes) then return 'bytes' end
  end
  if not make_room(size, most) then return 'memory' end
  -- To make room, other tables may have been begun.
  of = sum(uid)
  of[ADMITTED], of[NAME] = of[ADMITTED] + 1, agent
  local whole = sum('')
  whole[1], whole[2] = whole[1] + size, whole[2] + 1
  local r = { id = id, token = BEGUN[state], attempts = state == 'pending' and '0' or '1', forgiven = '0', live = BEGUN[state],
    taker = '', streams = '0', deadline = from_now(ttl), settled = '', size = size, answered = '0', uid = uid,
    sequence = string.format('%013d', whole[2]), admitted = from_now(0), ttl = ttl, length = length,
    called = url == '' and '0' or '1', scope = scope, answer = '', rest = rest,
    reason = state == 'unknown' and 'it was sent and no answer came: the agent may have handled it' or '' }
  records[id] = r
  if bytes_of ~= '' then
    bytes[#bytes + 1] = body(id)
    bytes[#bytes + 1] = bytes_of
  end
  if url ~= '' then call('HSET', callback(id), 'url', url) end
  if scope ~= '' then call('SET', key(uid, scope), id) end
  enter(r, state, from_now(lease))
  return 'ok'
end

for k = 3, #ARGV, EACH do said[#said + 1] = admit(unpack(ARGV, k, k + EACH - 1)) end
flush()
return said
