#!lua
-- Notes that a channel is published on, and gives the data set a name where it has none: before anything is written.
-- KEYS: the registry, the data set. ARGV: the channel, a name.
if not redis.acl_check_cmd('ZADD', KEYS[1], '0', ARGV[1]) then
  return redis.error_reply('NOPERM this Redis user lacks ZADD for the registry of channels')
end
if redis.acl_check_cmd('SET', KEYS[2], ARGV[2], 'NX') then redis.call('SET', KEYS[2], ARGV[2], 'NX') end
local clock = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), ARGV[1])
