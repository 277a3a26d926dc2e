#!lua
-- Creates the books of a subscription, whose name is reserved.
--
-- ARGV, after those of `subscription.lua`: the name; when it was reserved (ms); generation, settings; 'end' or the
-- sequence after which it begins, and its epoch; the age to which it holds the log (ms), and the bytes. Answers 'DONE';
-- 'EXISTS'; 'LATE' where the name was reserved too long ago; or 'FULL' where the channel has as many as it may have.
--@ subscription
--@ hold_of
local first_generation = ARGV[4]
local name, reserved, settings, start, start_epoch = ARGV[2], tonumber(ARGV[3]), ARGV[5], ARGV[6], ARGV[7]
local hold_age, hold_bytes = ARGV[8], ARGV[9]
--@ channel_end
--@ CHANNEL_SUBSCRIPTIONS RESERVED_MS

if is_there then return 'EXISTS' end
if now > reserved + RESERVED_MS then return 'LATE' end
if call('HEXISTS', subs_key, name) == 0 and call('HLEN', subs_key) >= CHANNEL_SUBSCRIPTIONS then return 'FULL' end
if not (redis.acl_check_cmd('HSET', books_key, 'v', '') and redis.acl_check_cmd('UNLINK', out_key) and may_hold) then
  return redis.error_reply('NOPERM this Redis user lacks HSET, HDEL, HVALS, PTTL, PEXPIRE or UNLINK to create a subscription')
end
--@ start_of
-- Whatever is left there of earlier books is not its own.
call('UNLINK', books_key, out_key, wait_key, order_key, tries_key, kept_key, dead_key, letters_key,
  outbox_key, keys_key, parked_key)
call('HSET', books_key, 'v', SUBSCRIPTION_FORMAT, 'g', first_generation, 'n', int(next), 'pe', start_epoch, 'o', '0',
  'r', '1', 'set', settings, 'c', int(now), 'u', int(now), 'x', '0', 'db', '0')
call('HSET', subs_key, name, int(next) .. ',' .. hold_age .. ',' .. hold_bytes)
--@ hold
return 'DONE'
