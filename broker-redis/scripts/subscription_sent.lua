#!lua
-- Takes dead letters out of the outbox. ARGV, after those of `subscription.lua`: for each when it died (ms), and its
-- name. One that died again meanwhile stays. Answers nothing.
--@ subscription

if not is_there then return '' end
if not redis.acl_check_cmd('ZREM', outbox_key, '') then
  return redis.error_reply('NOPERM this Redis user lacks ZREM for subscriptions of this channel')
end
for i = 2, #ARGV, 2 do
  if call('ZSCORE', outbox_key, ARGV[i + 1]) == ARGV[i] then call('ZREM', outbox_key, ARGV[i + 1]) end
end
return ''
