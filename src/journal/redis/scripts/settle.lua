-- Ends a claim. ARGV: prefix, id, token, state ('pending' gives it back), ms until it is due, reason, answer's head, answer's body.
-- Answers whether it was held still; once more under the same claim and to the same end, it was.
local r = load(ARGV[2])
local state = ARGV[4]
if not r or r.token ~= ARGV[3] then return 0 end
if r.state ~= 'claimed' then return r.state == state and 1 or 0 end
leave(r)
r.state = 'completed' -- of no queue for now
if ARGV[7] ~= '' then
  local before = tonumber(redis.call('HGET', record(r.id), 'answer-length') or '0')
  local length = #ARGV[7] + #ARGV[8]
  redis.call('DEL', answer(r.id))
  redis.call('HSET', record(r.id), 'answer', ARGV[7], 'answer-length', text(length))
  keep(r.id, 'answer-body', answer(r.id), ARGV[8])
  resize(r, r.size - before + length)
end
redis.call('HSET', record(r.id), 'reason', ARGV[6])
if state == 'pending' then redis.call('HINCRBY', record(r.id), 'attempts', -1) end
enter(r, state, now + tonumber(ARGV[5]))
return 1
