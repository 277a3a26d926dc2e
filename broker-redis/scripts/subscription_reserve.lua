#!lua
-- Reserves a subscription's name for a channel. KEYS: the index, the names. ARGV: name, channel; an entry of the index
-- that may be replaced, '' for none. Answers 'DONE' and the time (ms); 'OTHER', another channel's entry, and 1 where it
-- is so old that it may be replaced; or 'FULL'. An entry is '<time, ms>,<channel>'.
--@ SUBSCRIPTIONS RESERVATION_MS
local call, index_key, names_key, name, channel = redis.call, KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local entry = call('HGET', index_key, name)
local count = call('ZCARD', names_key)
if entry then
  local time, of = string.match(entry, '^(%d+),(.*)$')
  if of ~= channel and entry ~= ARGV[3] then
    return { 'OTHER', entry, (not time or time + RESERVATION_MS < now) and 1 or 0 }
  end
elseif count >= SUBSCRIPTIONS then
  return { 'FULL' }
end
if not (redis.acl_check_cmd('HSET', index_key, name, '') and redis.acl_check_cmd('ZADD', names_key, '0', name)) then
  return redis.error_reply('NOPERM this Redis user lacks HSET or ZADD for the index of subscriptions')
end
local reserved = string.format('%d', now)
call('HSET', index_key, name, reserved .. ',' .. channel)
call('ZADD', names_key, '0', name)
return { 'DONE', reserved }
