#!lua
-- Notes that a channel is published on. KEYS: the registry. ARGV: the channel.
local clock = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000)), ARGV[1])
