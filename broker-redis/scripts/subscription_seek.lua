#!lua
-- Begins a new generation of a subscription. What is out or waits is given up, and keys are open; dead letters and the
-- outbox stay. ARGV, after those of `subscription.lua`: the name; the generation; 'end' or the sequence after which it
-- begins, and its epoch; the age to which it holds the log (ms), and the bytes. Answers 1, or 0 where there are no
-- books.
--@ subscription
--@ hold_of
--@ channel_end

if not is_there then return 0 end
local name, new_generation, start, start_epoch = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local hold_age, hold_bytes = ARGV[6], ARGV[7]
if not (redis.acl_check_cmd('HSET', books_key, 'g', '') and redis.acl_check_cmd('UNLINK', out_key) and may_hold) then
  return redis.error_reply('NOPERM this Redis user lacks HSET, HDEL, HVALS, PTTL, PEXPIRE or UNLINK to seek a subscription')
end
--@ start_of
call('UNLINK', out_key, wait_key, order_key, tries_key, kept_key, keys_key, parked_key)
call('HSET', books_key, 'g', new_generation, 'n', int(next), 'pe', start_epoch, 'o', '0', 'sk', int(now))
call('HSET', subs_key, name, int(next) .. ',' .. hold_age .. ',' .. hold_bytes)
--@ hold
return 1
