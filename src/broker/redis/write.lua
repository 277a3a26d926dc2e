-- Writes messages of one channel: number, append, trim, head. What stands before it has these locals: `messages`, which get
-- their sequence and their JSON from a JSON head and tail; `is_dated`, whether the heads have a date already; `generation`, of
-- the remembered ids.
--
-- The epoch. An unbroken history has one replication id; with another one, what the last caller or the head knew beyond this
-- log was lost.
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

-- Stamp, and append run by run. Behind an adopted message stands the hash of what the plain program published.
local function stamp()
  local between = ',"epoch":"' .. epoch .. '"'
  local before = is_dated and ',"sequence":' or ',"date":"' .. iso(now) .. '","sequence":'
  for i, message in ipairs(messages) do
    message.sequence = last + i
    message.json = message.head .. before .. int(message.sequence) .. between .. message.tail
  end
end
local function append(from)
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
stamp()
if max_messages > 0 then
  local next, failed = append(1)
  if failed and string.find(failed.err, 'equal or smaller', 1, true) then
    -- The log is ahead of the head: go on behind it, in a new epoch, and drop nothing.
    lost_to = last
    last, time, bytes = log_end()
    lost_to, now = math.max(lost_to, last), math.max(now, time)
    new_history = begin_epoch()
    stamp()
    next, failed = append(1)
  end
  while not failed and next <= #messages do next, failed = append(next) end
  if failed then return failed end
else
  for _, message in ipairs(messages) do bytes = bytes + #message.json end
end
last = messages[#messages].sequence

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
redis.call('HSET', head_key, 'v', FORMAT, 'e', epoch, 's', int(last), 't', int(now), 'b', int(bytes), 'r', replication,
  'h', new_history, 'oid', oldest or '0-0', 'ob', int(oldest_bytes or 0), 'ot', int(oldest_time or 0),
  'g', int(generation))
redis.call('PEXPIRE', head_key, int(max_age + linger))
