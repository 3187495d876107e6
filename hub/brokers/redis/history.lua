-- A channel's newest position, and what came after another.
--
-- KEYS: shard, meta, history.
-- ARGV: candidate for a new epoch, seconds a new channel is remembered, what is asked ("top", "all" or "since"),
--       epoch, offset.
-- Returns {epoch, top, whether all came (1 or 0), entries}.
local ep = redis.call('HGET', KEYS[1], 'e')
if not ep then
  ep = ARGV[1]
  redis.call('HSET', KEYS[1], 'e', ep, 'q', 0, 'b', 0, 'at', '0-0', 'aq', 0)
end
local m = redis.call('HMGET', KEYS[2], 'p', 'e', 's')
local epoch, top = m[2], tonumber(m[3])
if m[1] ~= ep then
  -- Anyone may ask for any name, so what nobody published to is soon forgotten again.
  epoch, top = ARGV[1], 0
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[2], 'p', ep, 'e', epoch, 's', 0, 'b', 0)
end
if top == 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
if ARGV[3] == 'top' then
  return {epoch, top, 1, {}}
end
if ARGV[3] == 'all' then
  return {epoch, top, 1, redis.call('XRANGE', KEYS[3], '-', '+')}
end
local since = tonumber(ARGV[5])
if ARGV[4] ~= epoch or since > top then
  return {epoch, top, 0, {}}
end
if since == top then
  return {epoch, top, 1, {}}
end
local entries = redis.call('XRANGE', KEYS[3], (since + 1) .. '-0', '+')
if #entries ~= top - since then
  return {epoch, top, 0, {}}
end
return {epoch, top, 1, entries}
