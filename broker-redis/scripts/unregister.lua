#!lua flags=allow-oom
-- Forgets a channel, unless it was published on since it was looked at. KEYS: the registry. ARGV: the channel, the time
-- that the registry had for it then.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0
