-- Gives up what waited for too long, and forgets what was settled long ago. ARGV: prefix. Answers how many.
even_without_memory()
local many = 0
for _, part in ipairs({ DONE, KEPT }) do
  local found = call('ZRANGEBYSCORE', times, first_of(part), part .. from_now(0), 'LIMIT', 0, 200)
  for _, id in ipairs(found) do
    local r = load(id)
    if not r then
      call('ZREM', times, id)
    elseif settled(r.state) then
      forget(r)
    else
      expire(r)
    end
  end
  many = many + #found
end
flush()
return many
