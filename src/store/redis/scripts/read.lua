-- Some agents with their statuses, as of one moment. A script, since a full Redis refuses MULTI even for reads.
-- KEYS: agents, statuses. ARGV: names. Answers record, status, record, status, …
local answer = {}
for _, name in ipairs(ARGV) do
  table.insert(answer, redis.call('HGET', KEYS[1], name))
  table.insert(answer, redis.call('HGET', KEYS[2], name))
end
return answer
