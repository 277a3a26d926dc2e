#!lua flags=no-writes
-- Messages that wait for a retry and are due, the longest due first. ARGV, after those of `subscription.lua`: the
-- generation; how many at most. Answers for each its sequence, its attempts ('' where none are known), and the JSON
-- that is kept (nil for none).
--@ subscription

local reply = {}
if not is_there or generation ~= ARGV[2] then return reply end
local due = call('ZRANGE', wait_key, '-inf', int(now), 'BYSCORE', 'LIMIT', '0', ARGV[3])
for i, sequence in ipairs(due) do
  reply[3 * i - 2], reply[3 * i - 1] = sequence, call('HGET', tries_key, sequence) or ''
  reply[3 * i] = call('HGET', kept_key, sequence)
end
return reply
