-- All backlogs in numbers. ARGV: prefix. Answers {uid, its numbers, admission of the oldest that waits or ''} for each.
local said, of_each = {}, call('HGETALL', agents)
for k = 1, #of_each, 2 do
  local uid, oldest = of_each[k], nil
  if uid ~= '' then
    for _, part in ipairs({ WAITS, RESTS }) do
      local first = call('ZRANGEBYSCORE', all(uid), first_of(part), behind(part), 'LIMIT', 0, 1)[1]
      local r = first and load(first)
      if r and (not oldest or r.sequence - oldest.sequence < 0) then oldest = r end
    end
    said[#said + 1] = { uid, of_each[k + 1], oldest and oldest.admitted or '' }
  end
end
return said
