-- The epoch of a channel that nobody published to, so that asking for it need not write one down (log.py).
local WINDOW = 39600
local function window()
  return math.floor(tonumber(redis.call('TIME')[1]) / WINDOW)
end
local function derived(ep, born, meta)
  return string.sub(redis.sha1hex(ep .. ' ' .. string.format('%d', born) .. ' ' .. meta), 1, 10)
end
