-- Takes callbacks that are due. ARGV: prefix, at most, lease in ms. Answers {ms until the next is due or '', id, token, …}.
local answer = { '' }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', callbacks, '-inf', text(now), 'LIMIT', 0, tonumber(ARGV[2]))) do
  if redis.call('HGET', record(id), 'callback-state') == 'waiting' then
    redis.call('ZADD', callbacks, text(now + tonumber(ARGV[3])), id)
    redis.call('HINCRBY', record(id), 'calls', 1)
    table.insert(answer, id)
    table.insert(answer, text(redis.call('HINCRBY', record(id), 'callback-token', 1)))
  else
    redis.call('ZREM', callbacks, id)
  end
end
local due = redis.call('ZRANGE', callbacks, 0, 0, 'WITHSCORES')
if due[2] then answer[1] = text(math.max(0, tonumber(due[2]) - now)) end
return answer
