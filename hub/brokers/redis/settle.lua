-- Is this shard's log the one that was left, or was it rolled back? Run on every new connection.
--
-- KEYS: log, shard.
-- ARGV: candidate epoch, server's run id ("" if it does not say), its master_replid2 ("" likewise),
--       whether a restart keeps everything ("1" or "0");
--       then what the reader knows, or "": epoch, last id read, number of the last entry read.
-- Returns {epoch, its first number, the log id it begins after, newest number, newest log id, rolled back (1 or 0)}.
local log, shard = KEYS[1], KEYS[2]
local run, replaced, durable = ARGV[2], ARGV[3], ARGV[4] == '1'
local known, last, number = ARGV[5], ARGV[6], tonumber(ARGV[7]) or 0
local s = redis.call('HMGET', shard, 'e', 'q', 'r', 'r2')
local epoch, newest = s[1], tonumber(s[2]) or 0

local top = '0-0'
if redis.call('EXISTS', log) == 1 then
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then top = info[i + 1] end
  end
end

local rolled = false
if epoch then
  if run ~= '' and s[3] and s[3] ~= '' then
    local promoted = replaced ~= '' and string.find(replaced, '[^0]') ~= nil
    if s[3] ~= run then
      -- Another process has the data. A replica that was promoted, or a restart that did not write
      -- everything down, may lack entries that somebody saw: then nobody who saw them may be left to
      -- notice, and their positions would be given to other publications.
      rolled = promoted or not durable
    elseif promoted and s[4] ~= replaced then
      rolled = true
    end
  end
  if not rolled and known == epoch then
    if newest < number then
      rolled = true
    elseif last ~= '' and last ~= '0-0' and #redis.call('XRANGE', log, last, last) == 0 then
      -- The anchor is gone. Older entries without it were never followed by it; else the log was trimmed,
      -- which the numbers of what comes next will show.
      rolled = #redis.call('XRANGE', log, '-', '(' .. last, 'COUNT', 1) == 1
    end
  end
end

if rolled or not epoch then
  epoch = ARGV[1]
  if not rolled then newest = 0 end
  redis.call('HSET', shard, 'e', epoch, 'q', newest, 'at', top, 'aq', newest)
end
if run ~= '' then redis.call('HSET', shard, 'r', run, 'r2', replaced) end
local begun = redis.call('HMGET', shard, 'at', 'aq')
return {epoch, tonumber(begun[2]), begun[1], newest, top, rolled and 1 or 0}
