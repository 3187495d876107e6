-- Accept drafts of one shard, in order: idempotency, offset, history, log.
--
-- What can be done once for a channel is: each command costs Redis more than what Lua does between two of them.
--
-- KEYS: log, shard; then for each channel: meta, history; then for each draft that has a key: that key.
-- ARGV: number of drafts, number of channels, candidate for a new epoch, log length, log bytes, meta seconds,
--       key seconds, whether epochs are derived ("1" or "0");
--       then for each channel: name, history count, history seconds, history bytes;
--       then for each draft: number of its channel, form, data, and ext if it has one.
--       A form is a sum: 1 a hint, 2 has an ext, 4 has a key, 8 the key is an id.
-- Returns what each draft became, in two lists:
--       for each channel: its epoch, and the offset of its first new publication, from which they count up;
--       for each draft whose key was known: its number from 0, epoch, offset.
--DERIVED
local log, shard = KEYS[1], KEYS[2]
local drafts, named, log_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5])

-- Redis would write numbers as the floats they are in Lua, which takes several times as long.
local function text(number)
  return string.format('%d', number)
end

local channels, begun = {}, {}
for i = 1, named do
  local a = 5 + i * 4
  channels[i] = {
    name = ARGV[a], count = tonumber(ARGV[a + 1]), seconds = tonumber(ARGV[a + 2]), bytes = tonumber(ARGV[a + 3]),
    meta = KEYS[1 + i * 2], hist = KEYS[2 + i * 2], fresh = 0, size = 0,
  }
  begun[i * 2 - 1], begun[i * 2] = '', 0
end

-- Which of them are new? A key may also be repeated within this call.
local fresh, repeated, first_with, later = {}, {}, {}, {}
local a, k = 9 + named * 4, 2 + named * 2
for i = 1, drafts do
  local channel, form = channels[tonumber(ARGV[a])], ARGV[a + 1]
  local draft = {channel = channel, data = ARGV[a + 2], hint = '', ext = ''}
  a = a + 3
  local known = false
  if form ~= '0' then
    form = tonumber(form)
    if form % 2 == 1 then draft.hint = '1' end
    if form % 4 >= 2 then
      draft.ext = ARGV[a]
      a = a + 1
    end
    if form >= 4 then
      k = k + 1
      local idem = KEYS[k]
      if first_with[idem] then
        later[i - 1] = first_with[idem]
        known = true
      else
        local found = redis.call('HMGET', idem, 'e', 's')
        if found[1] then
          local r = #repeated
          repeated[r + 1], repeated[r + 2], repeated[r + 3] = i - 1, found[1], tonumber(found[2])
          known = true
        else
          first_with[idem] = draft
          draft.idem, draft.id = idem, form >= 8
        end
      end
    end
  end
  if not known then
    local size = #draft.data + #channel.name + #draft.ext + 100
    draft.size = size
    fresh[#fresh + 1] = draft
    channel.fresh, channel.size = channel.fresh + 1, channel.size + size
  end
end

if #fresh > 0 then
  local s = redis.call('HMGET', shard, 'e', 'b')
  local ep, written = s[1], tonumber(s[2]) or 0
  if not ep then
    -- Everything was deleted under running hubs. Their readers find another epoch and say "lost".
    ep, written = ARGV[3], 0
    redis.call('DEL', log)
    redis.call('HSET', shard, 'e', ep, 'q', 0, 'b', 0, 'at', '0-0', 'aq', 0)
  end
  -- Numbers and offsets are taken first: should a later command fail, for lack of memory say, readers find
  -- a number missing and say "lost" rather than nothing, and no position is given twice.
  local number = redis.call('HINCRBY', shard, 'q', #fresh) - #fresh
  local newest_before, written_before = number, written
  local seen = redis.call('TIME')[1]
  local now = tonumber(seen)
  for i, channel in ipairs(channels) do
    if channel.fresh > 0 then
      local meta = channel.meta
      local m = redis.call('HMGET', meta, 'p', 'e', 's', 'b', 'fb', 'ft', 'x', 'k')
      local epoch, offset, total, expires = m[2], tonumber(m[3]), tonumber(m[4]), tonumber(m[7]) or 0
      channel.first_bytes, channel.first_time = tonumber(m[5]) or 0, tonumber(m[6]) or 0
      channel.used = tonumber(m[8]) or 0
      if m[1] ~= ep then
        -- The channel is new, was forgotten, or belongs to a log that was rolled back.
        offset, total, channel.used = 0, 0, 0
        redis.call('DEL', meta, channel.hist)
        if ARGV[8] == '1' then
          local born = window()
          epoch = derived(ep, born, meta)
          redis.call('HSET', meta, 'p', ep, 'e', epoch, 'w', text(born))
        else
          epoch = ARGV[3]
          redis.call('HSET', meta, 'p', ep, 'e', epoch)
        end
      end
      -- Long times to live are renewed twice a minute, for each renewal costs as much as a look-up.
      channel.slack = channel.seconds >= 300 and 30 or 0
      channel.renew = offset == 0 or now - expires >= channel.slack
      -- 'b' counts bytes from the channel's beginning: the difference of two entries is what lies between.
      local newest, bytes = text(offset + channel.fresh), text(total + channel.size)
      if offset == 0 then
        channel.first_bytes, channel.first_time = 0, now
        redis.call('HSET', meta, 's', newest, 'b', bytes, 'x', seen, 'fb', '0', 'ft', seen)
      elseif channel.renew then
        redis.call('HSET', meta, 's', newest, 'b', bytes, 'x', seen)
      else
        redis.call('HSET', meta, 's', newest, 'b', bytes)
      end
      if channel.renew then
        redis.call('EXPIRE', meta, ARGV[6])
      end
      channel.epoch, channel.offset, channel.total = epoch, offset, total
      begun[i * 2 - 1], begun[i * 2] = epoch, offset + 1
    end
  end
  local last = fresh[#fresh]
  for _, draft in ipairs(fresh) do
    local channel, data, hint, ext = draft.channel, draft.data, draft.hint, draft.ext
    local epoch, offset, total = channel.epoch, channel.offset + 1, channel.total + draft.size
    channel.offset, channel.total, channel.fresh = offset, total, channel.fresh - 1
    local o = text(offset)
    if channel.count > 0 then
      local id, b = o .. '-0', text(total)
      -- To trim is to walk over what was trimmed before, so that is done once.
      if channel.fresh > 0 then
        redis.call('XADD', channel.hist, id, 'd', data, 'h', hint, 'x', ext, 't', seen, 'b', b)
      else
        redis.call('XADD', channel.hist, 'MAXLEN', channel.count, id, 'd', data, 'h', hint, 'x', ext, 't', seen, 'b', b)
      end
    end
    number, written = number + 1, written + draft.size
    local q, b = text(number), text(written)
    if draft ~= last then
      redis.call('XADD', log, '*', 'c', channel.name, 'e', epoch, 'o', o, 'd', data, 'h', hint, 'x', ext, 'q', q, 'b', b)
    else
      redis.call('XADD', log, 'MAXLEN', '~', ARGV[4], '*', 'c', channel.name, 'e', epoch, 'o', o, 'd', data,
        'h', hint, 'x', ext, 'q', q, 'b', b)
    end
    if draft.idem then
      redis.call('HSET', draft.idem, 'e', epoch, 's', o)
      redis.call('EXPIRE', draft.idem, ARGV[7])
      draft.epoch, draft.offset = epoch, offset
      -- Whether an id of the channel is known at all; who asks allows for the slack.
      if draft.id and now - channel.used >= 30 then
        redis.call('HSET', channel.meta, 'k', seen)
        channel.used = now
      end
    end
  end
  redis.call('HSET', shard, 'b', text(written))
  for _, channel in ipairs(channels) do
    if channel.epoch and channel.count > 0 then
      local total, seconds, bytes = channel.total, channel.seconds, channel.bytes
      if channel.renew then
        redis.call('EXPIRE', channel.hist, math.max(math.ceil(seconds), 1) + channel.slack)
      end
      -- 'fb' and 'ft' are of an entry that was the first once, so the first is looked at no oftener than
      -- is needed: reading it copies its data.
      if total - channel.first_bytes > bytes or channel.first_time < now - seconds then
        local from, at
        while true do
          local first = redis.call('XRANGE', channel.hist, '-', '+', 'COUNT', 1)[1]
          if not first then
            from, at = total, now
            break
          end
          local field = first[2]
          from, at = tonumber(field[10]) - (#field[2] + #channel.name + #field[6] + 100), tonumber(field[8])
          if at >= now - seconds and total - from <= bytes then break end
          redis.call('XDEL', channel.hist, first[1])
        end
        redis.call('HSET', channel.meta, 'fb', text(from), 'ft', text(at))
      end
    end
  end
  -- Large payloads reach the bound of bytes long before that of entries; looked at now and then.
  if math.floor(number / 64) ~= math.floor(newest_before / 64) or written - written_before > log_bytes / 64 then
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
for i, draft in pairs(later) do
  local r = #repeated
  repeated[r + 1], repeated[r + 2], repeated[r + 3] = i, draft.epoch, draft.offset
end
return {begun, repeated}
