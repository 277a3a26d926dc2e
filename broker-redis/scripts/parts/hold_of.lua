-- What a channel's subscriptions hold of its log, as its head has it, and whether it may be written. The code before it
-- has the locals of `subscription.lua`.
local may_change = redis.acl_check_cmd
local held_before = call('HMGET', head_key, 's', 'hd')
call('HLEN', subs_key)
if held_before[1] and not tonumber(held_before[1]) then return damaged('head') end
local may_hold = may_change('HSET', head_key, 'hd', '') and may_change('HDEL', head_key, 'hd')
  and may_change('HSET', subs_key, 'n', '') and may_change('HDEL', subs_key, 'n') and may_change('HVALS', subs_key)
  and may_change('PTTL', log_key)
  and may_change('PEXPIRE', head_key, '1', 'GT') and may_change('PEXPIRE', log_key, '1', 'GT')
