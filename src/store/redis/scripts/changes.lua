-- Prepended to every script that has to do with what a watcher sees.
-- Versions and entries of the change stream go together, without a gap: a watcher knows a gap for a loss.
-- `write` is used before anything else is written: a full Redis then refuses it, and the script as a whole.

-- The object's head; nil when there is no such object.
local function head(agents, name)
  local record = redis.call('HGET', agents, name)
  if not record then return nil end
  local version, uid, finalizers, deletion, at = string.match(record, '^(%d+) (%S+) (%d+) (%S*)\n()')
  if not version then return nil end
  return { version = version, uid = uid, finalizers = tonumber(finalizers), deletion = deletion,
    body = string.sub(record, at), record = record }
end

-- The last version given; never behind the change stream, even if the counter was lost.
local function position(counter, changes)
  local version = tonumber(redis.call('GET', counter) or '0')
  local last = redis.call('XREVRANGE', changes, '+', '-', 'COUNT', 1)[1]
  if last then version = math.max(version, tonumber(string.match(last[1], '^%d+'))) end
  return version
end

local function text(version) return string.format('%.0f', version) end

local function publish(changes, kept, version, name, kind)
  redis.call('XADD', changes, 'MAXLEN', '=', kept, text(version) .. '-0', 'name', name, 'kind', kind)
end
