#!lua
-- Deletes all that is kept of a subscription but its name. ARGV, after those of `subscription.lua`: the name; the
-- revision as it must be, '' for any; when it was used last (ms), '' for any. Answers 'DONE'; 'DIFFERS'; or 'MISSING'.
--@ subscription
--@ hold_of

local name = ARGV[2]
local revision, used = ARGV[3], ARGV[4]
if is_there and (revision ~= '' and books[6] ~= revision or used ~= '' and books[9] ~= used) then return 'DIFFERS' end
local is_listed = call('HEXISTS', subs_key, name) == 1
if not (is_there or is_listed) then return 'MISSING' end
if not (redis.acl_check_cmd('UNLINK', books_key) and may_hold) then
  return redis.error_reply('NOPERM this Redis user lacks UNLINK, HSET, HDEL, HVALS, PTTL or PEXPIRE to delete a subscription')
end
call('UNLINK', books_key, out_key, wait_key, order_key, tries_key, kept_key, dead_key, letters_key,
  outbox_key, keys_key, parked_key)
call('HDEL', subs_key, name)
--@ hold
return is_there and 'DONE' or 'MISSING'
