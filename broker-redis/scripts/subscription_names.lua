#!lua flags=no-writes
-- Names of subscriptions, in the order of their bytes. KEYS: the index, the names. ARGV: the name after which they
-- come, how many at most. Answers each name with its entry of the index.
local reply = {}
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], from, '+', 'BYLEX', 'LIMIT', '0', ARGV[2])) do
  local entry = redis.call('HGET', KEYS[1], name)
  if entry then reply[#reply + 1], reply[#reply + 2] = name, entry end
end
return reply
