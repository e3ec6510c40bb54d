-- Names an agent's records, the latest admitted first.
-- ARGV: prefix, uid, before this sequence or '+inf', at most, states ….
local wanted = {}
for k = 5, #ARGV do wanted[ARGV[k]] = true end
local found, from, most = {}, ARGV[3], tonumber(ARGV[4])
while #found < most do
  local page = redis.call('ZREVRANGEBYSCORE', of('all', ARGV[2]), from, '-inf', 'WITHSCORES', 'LIMIT', 0, 200)
  if #page == 0 then break end
  for k = 1, #page, 2 do
    from = '(' .. page[k + 1]
    if #ARGV == 4 or wanted[redis.call('HGET', record(page[k]), 'state')] then
      table.insert(found, page[k])
      if #found == most then break end
    end
  end
end
return found
