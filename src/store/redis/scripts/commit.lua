-- All writes of a bundle, or none.
-- KEYS: agents, statuses, applied, version, changes, tombstones
-- ARGV: changes kept, tombstones kept, prefix of a life's revisions, of its incarnations; then nine for each write:
--   op, name, uid, expected version, number of finalizers, deletion timestamp, now in ms, JSON, applied ('' leaves it);
--   and behind those of a 'restore' its status, the number of its revisions, and each one's name and record.
-- Answers {'conflict', name, version} or {'ok', record, status, record, status, …}, false for what is gone.
local agents, statuses, applied, counter, changes, tombstones = unpack(KEYS)
local changes_kept, tombstones_kept, revisions, incarnations = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local writes = {}
local at = 5
while at <= #ARGV do
  local write = { op = ARGV[at], name = ARGV[at + 1], uid = ARGV[at + 2], expected = ARGV[at + 3],
    finalizers = tonumber(ARGV[at + 4]), deletion = ARGV[at + 5], ms = ARGV[at + 6], json = ARGV[at + 7],
    applied = ARGV[at + 8] }
  at = at + 9
  if write.op == 'restore' then
    write.status, write.records = ARGV[at], {}
    local last = at + 1 + 2 * tonumber(ARGV[at + 1])
    for k = at + 2, last, 2 do table.insert(write.records, { ARGV[k], ARGV[k + 1] }) end
    at = last + 1
    -- Beside what it rests on it is one of the other two.
    write.op = write.expected == '' and 'create' or 'update'
  end
  table.insert(writes, write)
end

local seen = {}
for _, write in ipairs(writes) do
  local now = head(agents, write.name)
  write.now = now
  local fits
  if write.op == 'create' then
    fits = not now
  elseif write.op == 'update' then
    fits = now and now.version == write.expected and now.uid == write.uid
  elseif write.op == 'delete' then
    if now then fits = write.expected == '' or now.version == write.expected else fits = write.expected == '' end
  elseif write.op == 'finalize' then
    fits = now and now.uid == write.uid and now.deletion ~= ''
  else
    fits = now and now.version == write.expected
  end
  if write.op ~= 'check' then
    if seen[write.name] then fits = false end
    seen[write.name] = true
  end
  if not fits then return { 'conflict', write.name, now and now.version or '' } end
end

local version = position(counter, changes)
local before = version

local function put(write, uid, finalizers, deletion, body)
  version = version + 1
  redis.call('HSET', agents, write.name, text(version) .. ' ' .. uid .. ' ' .. finalizers .. ' ' .. deletion .. '\n' .. body)
  publish(changes, changes_kept, version, write.name, 'object')
end

local function name_applied(write)
  if write.applied ~= '' then redis.call('HSET', applied, write.name, write.applied) end
end

local function recall(write)
  if not write.status then return end
  redis.call('HSET', statuses, write.name, write.status)
  for _, record in ipairs(write.records) do redis.call('HSET', revisions .. write.uid, record[1], record[2]) end
end

local function remove(write)
  version = version + 1
  redis.call('HDEL', agents, write.name)
  redis.call('HDEL', statuses, write.name)
  redis.call('HDEL', applied, write.name)
  redis.call('DEL', revisions .. write.now.uid, incarnations .. write.now.uid)
  redis.call('ZADD', tombstones, write.ms, write.now.uid)
  redis.call('ZREMRANGEBYRANK', tombstones, 0, -1 - tombstones_kept)
  publish(changes, changes_kept, version, write.name, 'gone')
end

for _, write in ipairs(writes) do
  local now = write.now
  if write.op == 'create' then
    put(write, write.uid, write.finalizers, write.deletion, write.json)
    redis.call('HDEL', statuses, write.name)
    redis.call('HDEL', applied, write.name)
    name_applied(write)
    recall(write)
  elseif write.op == 'update' then
    local deletion = now.deletion ~= '' and now.deletion or write.deletion
    if deletion ~= '' and write.finalizers == 0 then
      remove(write)
    else
      put(write, now.uid, write.finalizers, deletion, write.json)
      name_applied(write)
      recall(write)
    end
  elseif write.op == 'delete' and now and now.finalizers == 0 then
    remove(write)
  elseif write.op == 'delete' and now and now.deletion == '' then
    put(write, now.uid, now.finalizers, write.deletion, now.body)
  elseif write.op == 'finalize' then
    remove(write)
  end
end
if version ~= before then redis.call('SET', counter, text(version)) end

local answer = { 'ok' }
for _, write in ipairs(writes) do
  table.insert(answer, redis.call('HGET', agents, write.name))
  table.insert(answer, redis.call('HGET', statuses, write.name))
end
return answer
