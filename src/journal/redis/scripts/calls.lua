-- Takes callbacks that are due. ARGV: prefix, at most, lease in ms. Answers {ms until the next is due or '', id, token, …}.
local said = { '' }
even_without_memory()
for _, id in ipairs(call('ZRANGEBYSCORE', callbacks, '-inf', now, 'LIMIT', 0, ARGV[2])) do
  if call('HGET', callback(id), 'state') == 'waiting' then
    call('ZADD', callbacks, now + ARGV[3], id)
    call('HINCRBY', callback(id), 'calls', 1)
    said[#said + 1] = id
    said[#said + 1] = tostring(call('HINCRBY', callback(id), 'token', 1))
  else
    call('ZREM', callbacks, id)
  end
end
local due = call('ZRANGE', callbacks, 0, 0, 'WITHSCORES')
if due[2] then said[1] = tostring(math.max(0, due[2] - now)) end
return said
