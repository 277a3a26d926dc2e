-- What both scripts begin with that write without knowing anything beforehand: `publish.lua` and `adopt.lua`. `write.lua`
-- follows them. `script.rs` puts them together. What they share is no function: closures made a publish of one message 4 %
-- slower.
--
-- `#!lua` before it makes Redis refuse a script whole when it is out of memory or a replica. Scripts do not roll back, so
-- every read and every check comes before the first write, and the first writes are the ones that could still fail.
--
-- KEYS: head, log, and a script's own. ARGV: channel, this call's name, which a new epoch takes over, epoch and sequence of the last message that the
--   caller knows of ('' and 0 for none), max messages, bytes, age (ms), how long log and head live from now on (ms), run messages,
--   run bytes; then a script's own.
local FORMAT, EPOCHS = 1, 16
local head_key, log_key = KEYS[1], KEYS[2]
local channel, candidate, seen_epoch, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local max_messages, max_bytes, max_age = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local log_lives, head_lives, run_messages, run_bytes = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])

-- What is there. What is not ours is refused under a name of ours, which says that nothing was written.
local function not_ours(what) return redis.error_reply('TIDINGS_CHANNEL ' .. what .. ' of ' .. channel) end
local head = redis.pcall('HMGET', head_key, 'v', 'e', 's', 't', 'b', 'r', 'h', 'oid', 'ob', 'ot', 'g', 'w')
local version, epoch, last, time, bytes = head[1], head[2], tonumber(head[3]), tonumber(head[4]), tonumber(head[5])
if head.err then
  if string.find(head.err, 'WRONGTYPE', 1, true) then return not_ours('head') end
  return redis.error_reply(head.err)
end
if version and (tonumber(version) or FORMAT + 1) > FORMAT then
  return redis.error_reply('TIDINGS_FORMAT ' .. version .. ' of ' .. channel)
end
-- What is counted on behind the first write.
if epoch and not (last and time and bytes and last >= 0 and run_id(head[8] or '') and tonumber(head[9]) and tonumber(head[10])) then
  return not_ours('head')
end
local info = redis.pcall('INFO', 'replication')
local replication = type(info) == 'string' and string.match(info, 'master_replid:(%w+)')
if not replication then return redis.error_reply('TIDINGS_SERVER it does not tell its replication id') end
local may_write = redis.acl_check_cmd('XADD', log_key, '*', 'm', '') and redis.acl_check_cmd('HSET', head_key, 'v', '')
  and redis.acl_check_cmd('XTRIM', log_key, 'MINID', '0') and redis.acl_check_cmd('PEXPIRE', head_key, '1')
  and redis.acl_check_cmd('XINFO', 'STREAM', log_key) and redis.acl_check_cmd('XRANGE', log_key, '-', '+')

-- The end of the log where the head is gone, or does not know of it.
local function log_end()
  local info = redis.pcall('XINFO', 'STREAM', log_key)
  if info.err then return nil end
  local named = {}
  for i = 1, #info, 2 do named[info[i]] = info[i + 1] end
  local entry = named['last-entry']
  local generated = run_id(named['last-generated-id'])
  if not entry then return generated, 0, 0 end
  return generated, tonumber(field(entry, 't') or ''), tonumber(field(entry, 'b') or '')
end

if not epoch then
  last, time, bytes = log_end()
  if last and not (time and bytes) then return not_ours('log') end
  last, time, bytes = last or 0, time or 0, bytes or 0
end
-- Log time: never below that of the last message.
local clock = call('TIME')
local now = math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), time)
