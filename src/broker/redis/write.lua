-- Writes messages of one channel: append, trim, head. What stands before it has these locals: `new`, how many; `jsons`; `hashes`,
-- where they are adopted; `before`, the sequence before the first of them; `new_history`, the epochs; `generation`, of
-- the remembered ids; `go_on_behind_log`, for a log that is ahead of the head.
--
-- Append run by run.
local function append(from)
  local run, size, i = { 't', int(now), 'b', '' }, 0, from
  while i <= new and i - from < run_messages and (i == from or size + #jsons[i] <= run_bytes) do
    local json = jsons[i]
    size = size + #json
    run[#run + 1] = 'm'
    run[#run + 1] = json
    if hashes then
      run[#run + 1] = 'r'
      run[#run + 1] = hashes[i]
    end
    i = i + 1
  end
  run[4] = int(bytes + size)
  local id = int(before + i - 1) .. '-' .. int(i - from)
  local added = redis.pcall('XADD', log_key, id, unpack(run))
  if type(added) == 'table' and added.err then return nil, added end
  bytes = bytes + size
  return i
end
if max_messages > 0 then
  local next, failed = append(1)
  if failed and string.find(failed.err, 'equal or smaller', 1, true) then
    if not go_on_behind_log() then return 0 end
    next, failed = append(1)
  end
  while not failed and next <= new do next, failed = append(next) end
  if failed then return failed end
else
  for i = 1, new do bytes = bytes + #jsons[i] end
end
last = before + new

-- Trim: the oldest run goes while what is behind it fills the limit. Its numbers are remembered in the head, so that most
-- calls look at no entry.
local oldest, oldest_bytes, oldest_time = head[8], tonumber(head[9]), tonumber(head[10])
if max_messages > 0 then
  local cut
  local function look(from)
    local entry = call('XRANGE', log_key, from, '+', 'COUNT', 1)[1]
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
  if cut then call('XTRIM', log_key, 'MINID', '=', cut) end
  call('PEXPIRE', log_key, int(max_age))
end
call('HSET', head_key, 'v', FORMAT, 'e', epoch, 's', int(last), 't', int(now), 'b', int(bytes), 'r', replication,
  'h', new_history, 'oid', oldest or '0-0', 'ob', int(oldest_bytes or 0), 'ot', int(oldest_time or 0),
  'g', int(generation), 'w', candidate)
call('PEXPIRE', head_key, int(max_age + linger))
