-- A channel's newest position, and what came after another.
--
-- KEYS: shard epoch, meta, history.
-- ARGV: candidate shard epoch, candidate channel epoch, meta seconds, what is asked ("top", "all" or "since"),
--       epoch, offset.
-- Returns {epoch, top, whether all came ("1" or "0"), entries}.
local ep = redis.call('GET', KEYS[1])
if not ep then
  ep = ARGV[1]
  redis.call('SET', KEYS[1], ep)
end
local m = redis.call('HMGET', KEYS[2], 'p', 'e', 's')
local epoch, top = m[2], tonumber(m[3])
if m[1] ~= ep then
  epoch, top = ARGV[2], 0
  redis.call('DEL', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[2], 'p', ep, 'e', epoch, 's', 0, 'b', 0)
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
if ARGV[4] == 'top' then
  return {epoch, top, 1, {}}
end
if ARGV[4] == 'all' then
  return {epoch, top, 1, redis.call('XRANGE', KEYS[3], '-', '+')}
end
local since = tonumber(ARGV[6])
if ARGV[5] ~= epoch or since > top then
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
