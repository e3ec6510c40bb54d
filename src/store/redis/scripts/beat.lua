-- A server's sign of life: its report, the lease, and who else lives; all by Redis' own time.
-- KEYS: lease, members.
-- ARGV: server, run, candidate, only run of its server, ms of a lease, ms of a life, report as JSON.
-- Answers holder ('': nobody), term, ms that the lease still holds, then id, report of each other member that lives.
local lease, members = unpack(KEYS)
local server, run, candidate, only, lease_ms, life_ms, report = unpack(ARGV)
local function text(number) return string.format('%.0f', number) end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local me = server .. '/' .. run
local function of_my_server(id) return string.sub(id, 1, #server + 1) == server .. '/' end

-- A full Redis takes this, and after a first write the rest: leadership must not end for want of memory.
redis.call('HDEL', members, me)
local others = {}
local all = redis.call('HGETALL', members)
for at = 1, #all, 2 do
  local ends, json = string.match(all[at + 1], '^(%d+)\n(.*)$')
  ends = tonumber(ends or '0')
  -- An end that no member could set now: Redis' clock was set back.
  local lives = ends > now and ends <= now + 10 * tonumber(life_ms)
  if lives and not (only == '1' and of_my_server(all[at])) then
    table.insert(others, all[at])
    table.insert(others, json)
  else
    redis.call('HDEL', members, all[at])
  end
end
redis.call('HSET', members, me, text(now + tonumber(life_ms)) .. '\n' .. report)

local holder, term, ends = unpack(redis.call('HMGET', lease, 'holder', 'term', 'until'))
holder, term, ends = holder or '', tonumber(term or '0'), tonumber(ends or '0')
if ends > now + tonumber(lease_ms) then
  ends = now + tonumber(lease_ms)
  redis.call('HSET', lease, 'until', text(ends))
end
if ends <= now or (only == '1' and holder ~= me and of_my_server(holder)) then holder = '' end
if candidate == '1' and (holder == '' or holder == me) then
  -- Above all terms of a store that was wiped, too.
  if holder == '' then term = math.max(term + 1, now) end
  holder, ends = me, now + tonumber(lease_ms)
  redis.call('HSET', lease, 'holder', me, 'term', text(term), 'until', text(ends))
elseif holder == me then
  holder = ''
  redis.call('HSET', lease, 'holder', '', 'until', '0')
end
local answer = { holder, text(term), text(holder == '' and 0 or ends - now) }
for _, part in ipairs(others) do table.insert(answer, part) end
return answer
