-- All backlogs in numbers. ARGV: prefix. Answers {uid, agent, admission of the oldest that waits or '', counts …} for each.
local answer = {}
local all = redis.call('HGETALL', agents)
for k = 1, #all, 2 do
  local uid = all[k]
  local oldest = ''
  for _, kind in ipairs({ 'waiting', 'later' }) do
    local first = redis.call('ZRANGE', of(kind, uid), 0, 0)[1]
    local at = first and redis.call('HGET', record(first), 'admitted')
    if at and (oldest == '' or tonumber(at) < tonumber(oldest)) then oldest = at end
  end
  table.insert(answer, { uid, all[k + 1], oldest, unpack(redis.call('HGETALL', of('counts', uid))) })
end
return answer
