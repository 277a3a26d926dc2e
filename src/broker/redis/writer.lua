-- Writes messages of one channel: number, append, trim, head. Part of the two scripts that write, which alone touch a
-- channel's head and log: `publish.lua` and `adopt.lua`. `script.rs` puts them together.
--
-- `#!lua` before it makes Redis refuse a script whole when it is out of memory or a replica. Scripts do not roll back, so
-- every read and every check comes before the first write, and the first writes are the ones that could still fail.
--
-- KEYS: head, log, and a script's own. ARGV: channel, a name for a new epoch, epoch and sequence of the last message that the
--   caller knows of ('' and 0 for none), max messages, bytes, age (ms), linger of the head (ms), run messages, run bytes;
--   then a script's own.
local FORMAT, EPOCHS = 1, 16
local head_key, log_key = KEYS[1], KEYS[2]
local channel, candidate, seen_epoch, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local max_messages, max_bytes, max_age = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local linger, run_messages, run_bytes = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])

-- What is there.
local head = redis.call('HMGET', head_key, 'v', 'e', 's', 't', 'b', 'r', 'h', 'oid', 'ob', 'ot', 'g', 'a')
local version, epoch, last, time, bytes = head[1], head[2], tonumber(head[3]), tonumber(head[4]), tonumber(head[5])
if version and tonumber(version) > FORMAT then
  return redis.error_reply('TIDINGS_FORMAT ' .. version)
end
local info = redis.call('INFO', 'replication')
local replication = string.match(info, 'master_replid:(%w+)')
local function may_write()
  return redis.acl_check_cmd('XADD', log_key, '*', 'm', '') and redis.acl_check_cmd('HSET', head_key, 'v', '')
    and redis.acl_check_cmd('XTRIM', log_key, 'MINID', '0') and redis.acl_check_cmd('PEXPIRE', head_key, '1')
    and redis.acl_check_cmd('XINFO', 'STREAM', log_key) and redis.acl_check_cmd('XRANGE', log_key, '-', '+')
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

-- Log time: never below that of the last message.
local now
local function read_clock()
  if not epoch then
    last, time, bytes = log_end()
    last, time, bytes = last or 0, time or 0, bytes or 0
  end
  local clock = redis.call('TIME')
  now = math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), time)
end

-- The epoch. An unbroken history has one replication id; with another one, what the last caller or the head knew
-- beyond this log was lost.
local old_epoch, lost_to
local function begin_epoch()
  if old_epoch and seen_epoch == old_epoch and seen > lost_to then lost_to = seen end
  epoch = candidate
  local starts = {}
  for start in string.gmatch(head[7] or '', '[^;]+') do starts[#starts + 1] = start end
  starts[#starts + 1] = epoch .. ',' .. int(last + 1) .. ',' .. int(lost_to)
  while #starts > EPOCHS do table.remove(starts, 1) end
  return table.concat(starts, ';')
end

-- Appends one run, from a message on: answers the place of the next message. Behind an adopted message stands the hash of
-- what the plain program published.
local function append(messages, from)
  local run, size, i = { 't', int(now), 'b', '' }, 0, from
  while messages[i] and i - from < run_messages and (i == from or size + #messages[i].json <= run_bytes) do
    local message = messages[i]
    size = size + #message.json
    run[#run + 1] = 'm'
    run[#run + 1] = message.json
    if message.hash then
      run[#run + 1] = 'r'
      run[#run + 1] = message.hash
    end
    i = i + 1
  end
  run[4] = int(bytes + size)
  local id = int(messages[i - 1].sequence) .. '-' .. int(i - from)
  local added = redis.pcall('XADD', log_key, id, unpack(run))
  if type(added) == 'table' and added.err then return nil, added end
  bytes = bytes + size
  return i
end

-- Trims: the oldest run goes while what is behind it fills the limit. Its numbers are remembered in the head, so that most
-- calls look at no entry.
local function trim()
  local oldest, oldest_bytes, oldest_time, cut = head[8], tonumber(head[9]), tonumber(head[10])
  local function look(from)
    local entry = redis.call('XRANGE', log_key, from, '+', 'COUNT', 1)[1]
    oldest, oldest_bytes, oldest_time = entry[1], tonumber(field(entry, 'b')), tonumber(field(entry, 't'))
  end
  if max_messages > 0 then
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
  return oldest or '0-0', oldest_bytes or 0, oldest_time or 0
end

-- Writes messages of a JSON head and tail, and gives each its sequence and its JSON. `is_dated` says that their heads
-- have a date already. What follows are more fields of the head. Answers an error where the log takes nothing.
local function write(messages, is_dated, ...)
  local history = head[7] or ''
  old_epoch, lost_to = epoch, last
  if not old_epoch or head[6] ~= replication then history = begin_epoch() end
  local function stamp()
    local between = ',"epoch":"' .. epoch .. '"'
    local before = is_dated and ',"sequence":' or ',"date":"' .. iso(now) .. '","sequence":'
    for i, message in ipairs(messages) do
      message.sequence = last + i
      message.json = message.head .. before .. int(message.sequence) .. between .. message.tail
    end
  end
  stamp()
  if max_messages > 0 then
    local next, failed = append(messages, 1)
    if failed and string.find(failed.err, 'equal or smaller', 1, true) then
      -- The log is ahead of the head: go on behind it, in a new epoch, and drop nothing.
      lost_to = last
      last, time, bytes = log_end()
      lost_to, now = math.max(lost_to, last), math.max(now, time)
      history = begin_epoch()
      stamp()
      next, failed = append(messages, 1)
    end
    while not failed and next <= #messages do next, failed = append(messages, next) end
    if failed then return failed end
  else
    for _, message in ipairs(messages) do bytes = bytes + #message.json end
  end
  last = messages[#messages].sequence
  local oldest, oldest_bytes, oldest_time = trim()
  redis.call('HSET', head_key, 'v', FORMAT, 'e', epoch, 's', int(last), 't', int(now), 'b', int(bytes), 'r', replication,
    'h', history, 'oid', oldest, 'ob', int(oldest_bytes), 'ot', int(oldest_time), ...)
  redis.call('PEXPIRE', head_key, int(max_age + linger))
end
