-- Keeps a claim. ARGV: prefix, id, token, lease in ms. Answers whether it is held still.
local r = load(ARGV[2])
if not r or r.state ~= 'claimed' or r.token ~= ARGV[3] then return 0 end
local till = text(now + tonumber(ARGV[4]))
if not r.live then redis.call('ZADD', of('claimed', r.uid), till, r.id) end
redis.call('ZADD', leases, till, r.id)
return 1
