#!lua flags=no-writes
-- Which channels were published on lately, the most recent first. KEYS: the registry. ARGV: how far back (ms), how many
-- to skip, how many to return. Answers: role, how many channels there are in all, names.
local clock = redis.call('TIME')
local since = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000) - ARGV[1])
local reply = redis.call('ZRANGE', KEYS[1], '+inf', since, 'BYSCORE', 'REV', 'LIMIT', ARGV[2], ARGV[3])
table.insert(reply, 1, redis.call('ZCARD', KEYS[1]))
table.insert(reply, 1, string.match(redis.call('INFO', 'replication'), 'role:(%w+)'))
return reply
