#!lua
-- Replaces a subscription's settings. ARGV, after those of `subscription.lua`: the revision as it must be, settings.
-- Answers 'DONE'; 'DIFFERS'; or 'MISSING'.
--@ subscription

if not is_there then return 'MISSING' end
if books[6] ~= ARGV[2] then return 'DIFFERS' end
if not (redis.acl_check_cmd('HSET', books_key, 'set', '') and redis.acl_check_cmd('HINCRBY', books_key, 'r', '1')) then
  return redis.error_reply('NOPERM this Redis user lacks HSET or HINCRBY to change a subscription')
end
call('HINCRBY', books_key, 'r', '1')
call('HSET', books_key, 'set', ARGV[3])
return 'DONE'
