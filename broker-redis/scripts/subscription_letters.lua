#!lua flags=no-writes
-- Dead letters, the oldest first. ARGV, after those of `subscription.lua`: the one after which they come: when it died
-- (ms, '' for the beginning), and its name; how many at most, bytes of JSON at most; one comes at least; 1 for those of
-- the outbox, '' for all. Answers for each when it died, its name and its record.
--@ subscription
local STEP = 100

local after_time, after_name, limit, most_bytes = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local list_key = ARGV[6] == '1' and outbox_key or dead_key
local reply, count, bytes = {}, 0, 0
if not is_there then return reply end
local from = 0
-- Those that died before it. Of those that died at the same time the names come first that are lower.
if after_time ~= '' then from = call('ZCOUNT', list_key, '-inf', '(' .. after_time) end
while true do
  local letters = call('ZRANGE', list_key, from, from + STEP - 1, 'WITHSCORES')
  for i = 1, #letters, 2 do
    local name, time = letters[i], letters[i + 1]
    if time ~= after_time or name > after_name then
      local record = call('HGET', letters_key, name)
      local reason, after_head = string.match(record or '', '^[^;]*;(%d+);()')
      if not reason then return damaged('subscription') end
      bytes = bytes + #record - (after_head - 1) - reason
      if count > 0 and (count >= limit or bytes > most_bytes) then return reply end
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = time, name, record
      count = count + 1
    end
  end
  if #letters < 2 * STEP then return reply end
  from = from + STEP
end
