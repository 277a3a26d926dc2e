-- Publishes messages of one channel: deduplicate, write (`write.lua`), remember, push.
--
-- KEYS: head, log, and the beginning of the names of the id tables (all with the channel's hash tag).
-- ARGV, behind those of `begin.lua`: window (ms), max ids, min replicas; then batches: how many messages, and for each its
--   16-byte id ('' for one the publisher made), JSON head, JSON tail.
-- Answers: epoch, log time (ms), and for each message its sequence, or 'sequence:epoch:time' of its first receipt when it
--   is a repeat, or -1 when its batch was refused because no more ids can be remembered.
local ids_key = KEYS[3]
local window, max_ids, min_replicas = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local FIRST_BATCH = 14
if min_replicas > 0 then
  local _, connected = string.gsub(info, 'state=online', '')
  if connected < min_replicas then
    return redis.error_reply('TIDINGS_REPLICAS ' .. connected)
  end
end
if not (may_write and redis.acl_check_cmd('PUBLISH', channel, '') and redis.acl_check_cmd('HSET', ids_key .. '0', '', '')
    and redis.acl_check_cmd('UNLINK', ids_key .. '0')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks PUBLISH, XADD, XTRIM, XRANGE, XINFO, HSET, PEXPIRE or UNLINK for this channel')
end

-- Which messages are new, and which repeat one that is remembered or stands before them in this call.
local generation = math.floor(now / window)
local ids_now, ids_before = ids_key .. int(generation), ids_key .. int(generation - 1)
local room = max_ids - redis.call('HLEN', ids_now)
local results, messages, is_dated, earlier, fresh_ids = {}, {}, false, {}, 0
local at = FIRST_BATCH
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  at = at + 1
  local begin, added, batch_ids, batch_earlier = #results, {}, 0, {}
  for _ = 1, count do
    local id = ARGV[at]
    local result
    if id ~= '' then
      result = earlier[id] or batch_earlier[id] or redis.call('HGET', ids_now, id) or redis.call('HGET', ids_before, id)
    end
    if not result then
      result = { id = id, head = ARGV[at + 1], tail = ARGV[at + 2], place = #results + 1 }
      added[#added + 1] = result
      if id ~= '' then
        batch_earlier[id] = { of = result }
        batch_ids = batch_ids + 1
      end
    end
    results[#results + 1] = result
    at = at + 3
  end
  -- Without ids of its own a batch needs no room, also where the limit was lowered below what is remembered.
  if batch_ids > 0 and batch_ids > room then
    for i = begin + 1, begin + count do results[i] = -1 end
  else
    room = room - batch_ids
    fresh_ids = fresh_ids + batch_ids
    for _, message in ipairs(added) do messages[#messages + 1] = message end
    for id, repeated in pairs(batch_earlier) do earlier[id] = repeated end
  end
end

local function answer()
  local reply = { epoch or '', int(now) }
  for _, result in ipairs(results) do
    if type(result) == 'table' then
      -- A repeat of a message of this call; a new message is a number by now.
      result = int(results[result.of.place]) .. ':' .. epoch .. ':' .. int(now)
    end
    reply[#reply + 1] = result
  end
  return reply
end

if #messages == 0 then
  -- WAIT covers the writes of its own connection: give it one, so that the first receipts are covered as well.
  if min_replicas > 0 and epoch then redis.call('HSET', head_key, 'v', FORMAT) end
  return answer()
end
