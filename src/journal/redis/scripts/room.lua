-- How records go. Behind shared.lua, of those scripts alone that need it: each function costs each run of a script some 0.2 µs.
local function forget(r)
  leave(r)
  local of = sum('')
  of[1] = of[1] - weight(r)
  records[r.id] = false
  call('ZREM', times, r.id)
  call('ZREM', all(r.uid), r.id)
  call('DEL', record(r.id), body(r.id), answer(r.id), events(r.id), run(r.id), callback(r.id))
  -- Another may have taken its key.
  if r.scope ~= '' and call('GET', key(r.uid, r.scope)) == r.id then call('DEL', key(r.uid, r.scope)) end
end

-- Makes room for so many bytes more: what is settled and nobody need look at goes, what would be forgotten first before the others.
-- Answers whether there is.
local function make_room(size, most)
  if sum('')[1] + size <= most then return true end
  flush()
  for _, old in ipairs(call('ZRANGEBYSCORE', times, '-inf', behind(DONE), 'LIMIT', 0, 100)) do
    local r = load(old)
    if r then forget(r) else call('ZREM', times, old) end
    if sum('')[1] + size <= most then return true end
  end
  return false
end

local function expire(r)
  leave(r)
  r.reason = 'it waited for longer than persistence.ttl'
  enter(r, 'expired')
end
