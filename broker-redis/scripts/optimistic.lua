#!lua
-- Publishes messages of one channel whose JSON is whole already, date and number as well: for a publisher that knows
-- how its own last call left the channel. Where anything is otherwise, nothing is written, and `publish.lua` has to do
-- it.
--
-- Mostly it is called for a lone message, and then every step counts: it asks for no more than it needs. A head that
-- has the name of that last call is as that call left it. Only every now and then a call is *full*: it compares Redis's
-- replication id, and puts off the time at which log and head expire. A replica refuses the script whole, and the
-- publisher makes the first call over each connection a full one, so that none continues an epoch that a restart or a
-- promotion has ended.
--
-- KEYS: head, log. ARGV: channel; name of the last call, and of this one; the last sequence before it, and after it;
--   log time (ms); bytes of its messages; max messages, bytes, age (ms); how long log and head live from now on (ms),
--   '' where the call is not full; run messages, run bytes; each message's JSON. Answers Redis's clock (ms), or 0 where
--   nothing was written.
--@ FORMAT_TEXT FORMAT_UNHELD_TEXT CLOCKS_APART_MS
local FIRST_MESSAGE = 15
local call, ARGV = redis.call, ARGV
local head_key, log_key, channel, log_lives = KEYS[1], KEYS[2], ARGV[1], ARGV[11]
local head = redis.pcall('HMGET', head_key, 'w', 's', 'b', 'oid', 'ob', 'ot', 'r', 'v', 'hd')
local hold = head[9]
local format = hold and FORMAT_TEXT or FORMAT_UNHELD_TEXT
if head[1] ~= ARGV[2] or head[2] ~= ARGV[4] or head[8] ~= format then return 0 end
local is_full_call = log_lives ~= ''
if is_full_call and not string.find(call('INFO', 'replication'), 'master_replid:' .. (head[7] or '?'), 1, true) then
  return 0
end
local clock = call('TIME')
local clock_ms, now = clock[1] * 1000 + math.floor(clock[2] / 1000), tonumber(ARGV[6])
if math.abs(now - clock_ms) > CLOCKS_APART_MS then return 0 end
local before, last, new = tonumber(ARGV[4]), tonumber(ARGV[5]), #ARGV - FIRST_MESSAGE + 1
local max_messages, max_bytes, max_age = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local bytes, oldest, oldest_bytes, oldest_time = tonumber(head[3]), head[4], tonumber(head[5]), tonumber(head[6])
if not (bytes and oldest and oldest_bytes and oldest_time) then return 0 end
local bytes_then, is_kept = bytes + tonumber(ARGV[7]), max_messages > 0
local oldest_last = is_kept and string.match(oldest, '^%d+')
if is_kept and not oldest_last then return 0 end
local is_full = is_kept and (last - oldest_last >= max_messages or bytes_then - oldest_bytes >= max_bytes
  or oldest_time < now - max_age)

-- Before anything is written: scripts do not roll back.
local may = redis.acl_check_cmd
if not (may('PUBLISH', channel, '') and may('HSET', head_key, 'w', '') and (not is_kept or may('XADD', log_key, '*', 'm', ''))
    and (not is_full_call or may('PEXPIRE', head_key, '1'))
    and (not is_full or (may('XTRIM', log_key, 'MINID', '0') and may('XRANGE', log_key, '-', '+')))) then
  return redis.error_reply(
    'NOPERM this Redis user lacks PUBLISH, XADD, XTRIM, XRANGE, XINFO, HSET or PEXPIRE for this channel')
end

-- A lone message spares itself what more of them need: functions, a list, and taking that apart again.
local failed
if is_kept and new == 1 then
  failed = redis.pcall('XADD', log_key, ARGV[5] .. '-1', 't', ARGV[6], 'b', string.format('%d', bytes_then), 'm', ARGV[15])
  failed = type(failed) == 'table' and failed.err and failed
elseif is_kept then
  local jsons, skipped, hashes = ARGV, FIRST_MESSAGE - 1, nil
  local run_messages, run_bytes = tonumber(ARGV[13]), tonumber(ARGV[14])
  --@ tools
  --@ append
  local next = 1
  while not failed and next <= new do next, failed = append(next) end
end
if failed then
  -- The log is ahead of the head, or is none, which the first run finds already.
  if string.find(failed.err, 'equal or smaller', 1, true) or string.find(failed.err, 'WRONGTYPE', 1, true) then return 0 end
  return failed
end
if is_full then
  bytes = bytes_then
  --@ tools
  --@ trim
  if oldest ~= head[4] then
    call('HSET', head_key, 'oid', oldest, 'ob', int(oldest_bytes), 'ot', int(oldest_time))
  end
end
call('HSET', head_key, 's', ARGV[5], 't', ARGV[6], 'b', string.format('%d', bytes_then), 'w', ARGV[3])
if is_full_call then
  local head_lives = ARGV[12]
  --@ lives
  if is_kept then call('PEXPIRE', log_key, log_lives) end
  call('PEXPIRE', head_key, head_lives)
end
for i = FIRST_MESSAGE, FIRST_MESSAGE + new - 1 do call('PUBLISH', channel, ARGV[i]) end
return clock_ms
