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
  if size - most > 0 then return false end
  while true do
    flush()
    local olds = call('ZRANGEBYSCORE', times, '-inf', behind(DONE), 'LIMIT', 0, 100)
    if not olds[1] then return false end
    for _, old in ipairs(olds) do
      local r = load(old)
      if not r then
        call('ZREM', times, old)
      elseif settled(r.state) and not attention[r.state] then
        forget(r)
      elseif r.state == 'claimed' then
        -- A transaction was cut short. Whoever holds the claim says so within that time.
        time(r, CLAIMED, from_now(60000))
      else
        time(r, KEPT, r.deadline)
      end
      if sum('')[1] + size <= most then return true end
    end
  end
end

local function expire(r)
  leave(r)
  r.reason = 'it waited for longer than persistence.ttl'
  enter(r, 'expired')
end
