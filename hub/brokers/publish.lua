-- Accept drafts of one shard, in order: idempotency, offset, history, log.
--
-- KEYS: log, shard; then for each draft: meta, history, idempotency key.
-- ARGV: number of drafts, candidate for a new epoch, log length, log bytes, meta seconds, key seconds;
--       then for each draft: channel, data, hint ("1" or ""), ext (or ""), whether it has a key ("1", "2" for an id, or ""),
--       history count, history seconds, history bytes.
-- Returns for each draft: {channel epoch, offset, whether the key was known}.
local log, shard = KEYS[1], KEYS[2]
local n = tonumber(ARGV[1])
local log_bytes = tonumber(ARGV[4])
local results, later, first_with = {}, {}, {}

-- Which of them are new? A key may also be repeated within this call.
local fresh = 0
for i = 0, n - 1 do
  local known = false
  if ARGV[6 + i * 8 + 5] ~= '' then
    local idem = KEYS[2 + i * 3 + 3]
    if first_with[idem] then
      later[i] = first_with[idem]
      known = true
    else
      local found = redis.call('HMGET', idem, 'e', 's')
      if found[1] then
        results[i + 1] = {found[1], tonumber(found[2]), 1}
        known = true
      else
        first_with[idem] = i
      end
    end
  end
  if not known then fresh = fresh + 1 end
end

if fresh > 0 then
  local ep = redis.call('HGET', shard, 'e')
  if not ep then
    -- Everything was deleted under running hubs. Their readers find another epoch and say "lost".
    ep = ARGV[2]
    redis.call('DEL', log)
    redis.call('HSET', shard, 'e', ep, 'q', 0, 'b', 0, 'at', '0-0', 'aq', 0)
  end
  -- Numbers are taken first: should a later command fail, for lack of memory say, readers find a
  -- number missing and say "lost" rather than nothing.
  local number = redis.call('HINCRBY', shard, 'q', fresh) - fresh
  local written = tonumber(redis.call('HGET', shard, 'b')) or 0
  local begun = written
  local now = tonumber(redis.call('TIME')[1])
  for i = 0, n - 1 do
    if not results[i + 1] and not later[i] then
      local k, a = 2 + i * 3, 6 + i * 8
      local meta, hist, idem = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]
      local channel, data, hint, ext = ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4]
      local size = #data + #channel + #ext + 100
      local m = redis.call('HMGET', meta, 'p', 'e', 's', 'b', 'fb', 'ft', 'x', 'k')
      local epoch, offset, total, first_bytes, first_time, expires = m[2], m[3], m[4], m[5], m[6], tonumber(m[7]) or 0
      local used = tonumber(m[8]) or 0
      if m[1] ~= ep then
        -- The channel is new, was forgotten, or belongs to a log that was rolled back.
        epoch, offset, total, first_bytes, first_time, expires, used = ARGV[2], 0, 0, 0, now, 0, 0
        redis.call('DEL', meta, hist)
        redis.call('HSET', meta, 'p', ep, 'e', epoch)
      end
      -- 'b' counts bytes from the channel's beginning: the difference of two entries is what lies between.
      offset, total = offset + 1, total + size
      local count, seconds, bytes = tonumber(ARGV[a + 6]), tonumber(ARGV[a + 7]), tonumber(ARGV[a + 8])
      -- Long times to live are renewed twice a minute, for each renewal costs as much as a look-up.
      local slack = seconds >= 300 and 30 or 0
      local renew = now - expires >= slack
      if renew then
        redis.call('HSET', meta, 's', offset, 'b', total, 'x', now)
        redis.call('EXPIRE', meta, ARGV[5])
      else
        redis.call('HSET', meta, 's', offset, 'b', total)
      end
      if count > 0 then
        redis.call('XADD', hist, 'MAXLEN', count, offset .. '-0', 'd', data, 'h', hint, 'x', ext, 't', now, 'b', total)
        if renew then
          redis.call('EXPIRE', hist, math.max(math.ceil(seconds), 1) + slack)
        end
        -- 'fb' and 'ft' are of an entry that was the first once, so the first is looked at no oftener than
        -- is needed: reading it copies its data.
        first_bytes, first_time = tonumber(first_bytes) or 0, tonumber(first_time) or 0
        if total - first_bytes > bytes or first_time < now - seconds then
          local from, at
          while true do
            local first = redis.call('XRANGE', hist, '-', '+', 'COUNT', 1)[1]
            if not first then
              from, at = total, now
              break
            end
            local field = first[2]
            from, at = tonumber(field[10]) - (#field[2] + #channel + #field[6] + 100), tonumber(field[8])
            if at >= now - seconds and total - from <= bytes then break end
            redis.call('XDEL', hist, first[1])
          end
          redis.call('HSET', meta, 'fb', from, 'ft', at)
        elseif offset == 1 then
          redis.call('HSET', meta, 'fb', 0, 'ft', now)
        end
      end
      number = number + 1
      written = written + size
      redis.call('XADD', log, 'MAXLEN', '~', ARGV[3], '*', 'c', channel, 'e', epoch, 'o', offset, 'd', data,
        'h', hint, 'x', ext, 'q', number, 'b', written)
      if ARGV[a + 5] ~= '' then
        redis.call('HSET', idem, 'e', epoch, 's', offset)
        redis.call('EXPIRE', idem, ARGV[6])
        -- Whether an id of the channel is known at all; who asks allows for the slack.
        if ARGV[a + 5] == '2' and now - used >= 30 then
          redis.call('HSET', meta, 'k', now)
        end
      end
      results[i + 1] = {epoch, offset, 0}
    end
  end
  redis.call('HSET', shard, 'b', written)
  -- Large payloads reach the bound of bytes long before that of entries; looked at now and then.
  if math.floor(number / 64) ~= math.floor((number - fresh) / 64) or written - begun > log_bytes / 64 then
    local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if first then
      local kept = written - tonumber(first[2][16])
      if kept > log_bytes then
        local length = redis.call('XLEN', log)
        redis.call('XTRIM', log, 'MAXLEN', math.floor(length * log_bytes / kept * 0.75))
      end
    end
  end
end
for i, j in pairs(later) do
  results[i + 1] = {results[j + 1][1], results[j + 1][2], 1}
end
return results
