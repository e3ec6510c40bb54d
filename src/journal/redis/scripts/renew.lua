-- Keeps a claim. ARGV: prefix, id, token, lease in ms. Answers whether it is held still.
local r = load(ARGV[2])
if not r or r.state ~= 'claimed' or r.token ~= ARGV[3] then return 0 end
even_without_memory()
time(r, CLAIMED, from_now(ARGV[4]))
flush()
return 1
