#!lua
-- Publishes messages of one channel: number, append, trim, remember, push. The only writer of a channel's keys.
--
-- `#!lua` makes Redis refuse the script whole when it is out of memory or a replica. Scripts do not roll back, so every
-- read and every check comes before the first write, and the first writes are the ones that could still fail.
--
-- KEYS: head, log, and the beginning of the names of the id tables (all with the channel's hash tag).
-- ARGV: channel, a name for a new epoch, epoch and sequence of this publisher's last receipt ('' and 0 for none),
--   max messages, bytes, age (ms), window (ms), max ids, min replicas, linger of the head (ms), run messages, run bytes;
--   then batches: how many messages, and for each its 16-byte id ('' for one the publisher made), JSON head, JSON tail.
-- Answers: epoch, log time (ms), and for each message its sequence, or 'sequence:epoch:time' of its first receipt when it
--   is a repeat, or -1 when its batch was refused because no more ids can be remembered.
local FORMAT, EPOCHS = 1, 16
local head_key, log_key, ids_key = KEYS[1], KEYS[2], KEYS[3]
local channel, candidate, seen_epoch, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local max_messages, max_bytes, max_age = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local window, max_ids, min_replicas = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local linger, run_messages, run_bytes = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local FIRST_BATCH = 14

local function int(number)
  -- %.0f, because Lua writes 1e14 as 1e+14.
  return string.format('%.0f', number)
end

local function run_id(id)
  local last, count = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(last), tonumber(count)
end

local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

local function iso(ms)
  -- Days to a civil date, with years that begin in March, so that the leap day is the last.
  local days = math.floor(ms / 86400000)
  local rest = ms - days * 86400000
  local z = days + 719468
  local cycle = math.floor(z / 146097)
  local day = z - cycle * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  day = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * day + 2) / 153)
  day = day - math.floor((153 * month + 2) / 5) + 1
  year = year + cycle * 400
  if month < 10 then month = month + 3 else month, year = month - 9, year + 1 end
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, math.floor(rest / 3600000),
    math.floor(rest / 60000) % 60, math.floor(rest / 1000) % 60, rest % 1000)
end

-- What is there.
local head = redis.call('HMGET', head_key, 'v', 'e', 's', 't', 'b', 'r', 'h', 'oid', 'ob', 'ot', 'g')
local version, epoch, last, time, bytes = head[1], head[2], tonumber(head[3]), tonumber(head[4]), tonumber(head[5])
if version and tonumber(version) > FORMAT then
  return redis.error_reply('TIDINGS_FORMAT ' .. version)
end
local info = redis.call('INFO', 'replication')
local replication = string.match(info, 'master_replid:(%w+)')
if min_replicas > 0 then
  local _, connected = string.gsub(info, 'state=online', '')
  if connected < min_replicas then
    return redis.error_reply('TIDINGS_REPLICAS ' .. connected)
  end
end
if not (redis.acl_check_cmd('PUBLISH', channel, '') and redis.acl_check_cmd('XADD', log_key, '*', 'm', '')
    and redis.acl_check_cmd('HSET', head_key, 'v', '') and redis.acl_check_cmd('XTRIM', log_key, 'MINID', '0')
    and redis.acl_check_cmd('PEXPIRE', head_key, '1') and redis.acl_check_cmd('HSET', ids_key .. '0', '', '')
    and redis.acl_check_cmd('UNLINK', ids_key .. '0') and redis.acl_check_cmd('XINFO', 'STREAM', log_key)
    and redis.acl_check_cmd('XRANGE', log_key, '-', '+')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks PUBLISH, XADD, XTRIM, XRANGE, XINFO, HSET, PEXPIRE or UNLINK for this channel')
end

-- The end of the log where the head is gone, or does not know of it.
local function log_end()
  local info = redis.pcall('XINFO', 'STREAM', log_key)
  if info.err then return nil end
  local named = {}
  for i = 1, #info, 2 do named[info[i]] = info[i + 1] end
  local entry = named['last-entry']
  local generated = run_id(named['last-generated-id'])
  if not entry then return generated, 0, 0 end
  return generated, tonumber(field(entry, 't')), tonumber(field(entry, 'b'))
end
if not epoch then
  last, time, bytes = log_end()
  last, time, bytes = last or 0, time or 0, bytes or 0
end
local clock = redis.call('TIME')
local now = math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), time)

-- Which messages are new, and which repeat one that is remembered or stands before them in this call.
local generation = math.floor(now / window)
local ids_now, ids_before = ids_key .. int(generation), ids_key .. int(generation - 1)
local room = max_ids - redis.call('HLEN', ids_now)
local results, fresh, earlier, fresh_ids = {}, {}, {}, 0
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
    for _, message in ipairs(added) do fresh[#fresh + 1] = message end
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

if #fresh == 0 then
  -- WAIT covers the writes of its own connection: give it one, so that the first receipts are covered as well.
  if min_replicas > 0 and epoch then redis.call('HSET', head_key, 'v', FORMAT) end
  return answer()
end

-- The epoch. An unbroken history has one replication id; with another one, what the last publisher or the head knew
-- beyond this log was lost.
local history = head[7] or ''
local old_epoch, lost_to = epoch, last
local function begin_epoch()
  if old_epoch and seen_epoch == old_epoch and seen > lost_to then lost_to = seen end
  epoch = candidate
  local starts = {}
  for start in string.gmatch(history, '[^;]+') do starts[#starts + 1] = start end
  starts[#starts + 1] = epoch .. ',' .. int(last + 1) .. ',' .. int(lost_to)
  while #starts > EPOCHS do table.remove(starts, 1) end
  return table.concat(starts, ';')
end
local new_history = history
if not old_epoch or head[6] ~= replication then new_history = begin_epoch() end

-- Stamp, and append run by run.
local date = iso(now)
local function stamp()
  local between = ',"epoch":"' .. epoch .. '"'
  local before = ',"date":"' .. date .. '","sequence":'
  for i, message in ipairs(fresh) do
    message.sequence = last + i
    message.json = message.head .. before .. int(message.sequence) .. between .. message.tail
  end
end
local function append(from)
  local run, size, i = { 't', int(now), 'b', '' }, 0, from
  while fresh[i] and i - from < run_messages and (i == from or size + #fresh[i].json <= run_bytes) do
    size = size + #fresh[i].json
    run[#run + 1] = 'm'
    run[#run + 1] = fresh[i].json
    i = i + 1
  end
  run[4] = int(bytes + size)
  local id = int(fresh[i - 1].sequence) .. '-' .. int(i - from)
  local added = redis.pcall('XADD', log_key, id, unpack(run))
  if type(added) == 'table' and added.err then return nil, added end
  bytes = bytes + size
  return i
end
stamp()
if max_messages > 0 then
  local next, failed = append(1)
  if failed and string.find(failed.err, 'equal or smaller', 1, true) then
    -- The log is ahead of the head: go on behind it, in a new epoch, and drop nothing.
    lost_to = last
    last, time, bytes = log_end()
    lost_to, now = math.max(lost_to, last), math.max(now, time)
    date = iso(now)
    new_history = begin_epoch()
    stamp()
    next, failed = append(1)
  end
  if failed then return failed end
  while next <= #fresh do
    next, failed = append(next)
    if failed then return failed end
  end
else
  for _, message in ipairs(fresh) do bytes = bytes + #message.json end
end
last = fresh[#fresh].sequence

-- Trim: the oldest run goes while what is behind it fills the limit. Its numbers are remembered in the head, so that most
-- calls look at no entry.
local oldest, oldest_bytes, oldest_time = head[8], tonumber(head[9]), tonumber(head[10])
if max_messages > 0 then
  local cut
  local function look(from)
    local entry = redis.call('XRANGE', log_key, from, '+', 'COUNT', 1)[1]
    oldest, oldest_bytes, oldest_time = entry[1], tonumber(field(entry, 'b')), tonumber(field(entry, 't'))
  end
  if not oldest or not head[2] then look('-') end
  for _ = 1, 1000 do
    local oldest_last = run_id(oldest)
    if oldest_last >= last then break end
    if last - oldest_last < max_messages and bytes - oldest_bytes < max_bytes and oldest_time >= now - max_age then
      break
    end
    look(int(oldest_last + 1))
    cut = oldest
  end
  if cut then redis.call('XTRIM', log_key, 'MINID', '=', cut) end
  redis.call('PEXPIRE', log_key, int(max_age))
end

local old_generation = tonumber(head[11])
redis.call('HSET', head_key, 'v', FORMAT, 'e', epoch, 's', int(last), 't', int(now), 'b', int(bytes), 'r', replication,
  'h', new_history, 'oid', oldest or '0-0', 'ob', int(oldest_bytes or 0), 'ot', int(oldest_time or 0),
  'g', int(generation))
redis.call('PEXPIRE', head_key, int(max_age + linger))
for _, message in ipairs(fresh) do
  results[message.place] = message.sequence
  if message.id ~= '' then
    redis.call('HSET', ids_now, message.id, int(message.sequence) .. ':' .. epoch .. ':' .. int(now))
  end
  redis.call('PUBLISH', channel, message.json)
end
if fresh_ids > 0 then redis.call('PEXPIRE', ids_now, int(3 * window)) end
if old_generation and old_generation < generation then
  redis.call('UNLINK', ids_key .. int(old_generation - 1))
  if old_generation < generation - 1 then redis.call('UNLINK', ids_key .. int(old_generation)) end
end
return answer()
