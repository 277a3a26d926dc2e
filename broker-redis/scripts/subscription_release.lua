#!lua
-- Gives a subscription's name free, where its entry of the index is this one. KEYS: the index, the names. ARGV: name,
-- entry; 1 where the reservation has to be over. Answers 1 where it was done, otherwise 0.
--@ RESERVATION_MS
local call, index_key, names_key, name, entry = redis.call, KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local clock = call('TIME')
call('ZCARD', names_key)
if call('HGET', index_key, name) ~= entry then return 0 end
local time = string.match(entry, '^%d+')
if ARGV[3] == '1' and time and time + RESERVATION_MS >= clock[1] * 1000 + math.floor(clock[2] / 1000) then return 0 end
if not (redis.acl_check_cmd('HDEL', index_key, name) and redis.acl_check_cmd('ZREM', names_key, name)) then
  return redis.error_reply('NOPERM this Redis user lacks HDEL or ZREM for the index of subscriptions')
end
call('HDEL', index_key, name)
call('ZREM', names_key, name)
return 1
