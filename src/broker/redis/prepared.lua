-- Publishes messages of one channel whose JSON is whole already, date and number as well: for a publisher that knows how its own last
-- call left the channel. Where anything is otherwise, nothing is written, and `publish.lua` has to do it.
--
-- KEYS: head, log. ARGV, behind those of `begin.lua`: the name of that last call, log time (ms), and each message's JSON.
-- Answers Redis's clock (ms), or 0 where nothing was written.
local written_by, time_ms = ARGV[11], tonumber(ARGV[12])
local FIRST_MESSAGE, CLOCKS_APART = 13, 1000
if not (may_write and redis.acl_check_cmd('PUBLISH', channel, '')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks PUBLISH, XADD, XTRIM, XRANGE, XINFO, HSET, PEXPIRE or UNLINK for this channel')
end
-- The head's last call tells more than its number: another's call may have written as many.
if head[12] ~= written_by or last ~= seen or epoch ~= seen_epoch or head[6] ~= replication or time_ms < time or math.abs(time_ms - now) > CLOCKS_APART then
  return 0
end
now = time_ms
local jsons, new, before, new_history, generation = {}, #ARGV - FIRST_MESSAGE + 1, last, head[7], tonumber(head[11])
local hashes, go_on_behind_log = nil, function() return false end
for i = 1, new do jsons[i] = ARGV[FIRST_MESSAGE - 1 + i] end
