-- A channel's newest position, and what came after another.
--
-- KEYS: shard, meta, history.
-- ARGV: candidate for a new epoch, seconds a new channel is remembered, what is asked ("top", "all" or "since"),
--       epoch, offset, whether epochs are derived ("1" or "0").
-- Returns {epoch, top, whether all came (1 or 0), entries}.
--DERIVED
local ep = redis.call('HGET', KEYS[1], 'e')
if not ep then
  ep = ARGV[1]
  redis.call('HSET', KEYS[1], 'e', ep, 'q', 0, 'b', 0, 'at', '0-0', 'aq', 0)
end
local m = redis.call('HMGET', KEYS[2], 'p', 'e', 's', 'w')
local epoch, top, born = m[2], tonumber(m[3]), tonumber(m[4])
if m[1] ~= ep then
  -- Anyone may ask for any name: to remember what nobody published to would let strangers fill the memory.
  top = 0
  if ARGV[6] == '1' then
    born = window()
    epoch = derived(ep, born, KEYS[2])
  else
    epoch, born = ARGV[1], nil
    redis.call('DEL', KEYS[2], KEYS[3])
    redis.call('HSET', KEYS[2], 'p', ep, 'e', epoch, 's', 0, 'b', 0)
    redis.call('EXPIRE', KEYS[2], ARGV[2])
  end
elseif top == 0 then
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
if ARGV[3] == 'top' then
  return {epoch, top, 1, {}}
end
if ARGV[3] == 'all' then
  return {epoch, top, 1, redis.call('XRANGE', KEYS[3], '-', '+')}
end
local since = tonumber(ARGV[5])
-- Who asked in the window before that of the first publication stood at its beginning: see log.py.
local same = ARGV[4] == epoch or (born and since == 0 and ARGV[4] == derived(ep, born - 1, KEYS[2]))
if not same or since > top then
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
