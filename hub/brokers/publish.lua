-- Accept drafts of one shard, in order: idempotency, offset, history, log.
--
-- KEYS: log, shard epoch; then for each draft: meta, history, idempotency key.
-- ARGV: number of drafts, candidate shard epoch, log length, meta seconds, key seconds;
--       then for each draft: channel, data, hint ("1" or ""), ext (or ""), whether it has a key ("1" or ""),
--       candidate channel epoch, history count, history seconds, history bytes.
-- Returns for each draft: {channel epoch, offset, whether the key was known}.
local log, ep_key = KEYS[1], KEYS[2]
local n = tonumber(ARGV[1])
local ep = redis.call('GET', ep_key)
if not ep then
  ep = ARGV[2]
  redis.call('SET', ep_key, ep)
end
local time = redis.call('TIME')
local now = tonumber(time[1])
local results = {}
for i = 0, n - 1 do
  local k, a = 2 + i * 3, 5 + i * 9
  local meta, hist, idem = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
  local channel, data, hint, ext = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
  local known = ARGV[a + 5] == '1' and redis.call('HMGET', idem, 'e', 's')
  if known and known[1] then
    results[i + 1] = {known[1], tonumber(known[2]), 1}
  else
    local m = redis.call('HMGET', meta, 'p', 'e')
    local epoch = m[2]
    if m[1] ~= ep then
      -- The channel is new, was forgotten, or belongs to a log that was rolled back.
      epoch = ARGV[a + 6]
      redis.call('DEL', meta, hist)
      redis.call('HSET', meta, 'p', ep, 'e', epoch, 's', 0, 'b', 0)
    end
    local offset = redis.call('HINCRBY', meta, 's', 1)
    redis.call('EXPIRE', meta, ARGV[4])
    local count, seconds, bytes = tonumber(ARGV[a + 7]), tonumber(ARGV[a + 8]), tonumber(ARGV[a + 9])
    if count > 0 then
      redis.call('XADD', hist, 'MAXLEN', count, offset .. '-0', 'd', data, 'h', hint, 'x', ext, 't', now)
      redis.call('EXPIRE', hist, math.ceil(seconds))
      -- Age: a few of the oldest at a time, so that no publish pays for a long silence.
      for _ = 1, 4 do
        local first = redis.call('XRANGE', hist, '-', '+', 'COUNT', 1)[1]
        if not first or tonumber(first[2][8]) >= now - seconds then break end
        redis.call('XDEL', hist, first[1])
      end
      -- Bytes: counted since the last trim, then scaled with what the trim left.
      local total = redis.call('HINCRBY', meta, 'b', #data + #channel + 100)
      if total > bytes then
        local length = redis.call('XLEN', hist)
        local keep = math.max(math.min(length - 1, math.floor(length * bytes / total / 2)), 0)
        redis.call('XTRIM', hist, 'MAXLEN', keep)
        redis.call('HSET', meta, 'b', length > 0 and math.floor(total * keep / length) or 0)
      end
    end
    redis.call('XADD', log, 'MAXLEN', '~', ARGV[3], '*', 'c', channel, 'e', epoch, 'o', offset, 'd', data, 'h', hint, 'x', ext)
    if ARGV[a + 5] == '1' then
      redis.call('HSET', idem, 'e', epoch, 's', offset)
      redis.call('EXPIRE', idem, ARGV[5])
    end
    results[i + 1] = {epoch, offset, 0}
  end
end
return results
