-- Has a channel's head say what all its subscriptions hold together, and has log and head live as long: the head of a
-- channel with subscriptions longer than they are kept, since their sequences are of its epochs. A channel without a
-- head has none made: the publish that makes it looks at the subscriptions. The code before it has the locals of
-- `subscription.lua` and `hold_of.lua`.
--@ FORMAT FORMAT_UNHELD HEAD_LINGER_MS HEAD_HELD_MS
local holds = call('HVALS', subs_key)
--@ held_together
if held_before[1] and held ~= '' then
  if held ~= held_before[2] then call('HSET', head_key, 'hd', held, 'v', FORMAT) end
  -- Where all is settled there is nothing that has to outlive the history's own age.
  if held_from <= tonumber(held_before[1]) then call('PEXPIRE', log_key, int(held_age), 'GT') end
  call('PEXPIRE', head_key, HEAD_HELD_MS, 'GT')
elseif held_before[2] then
  call('HDEL', head_key, 'hd')
  call('HSET', head_key, 'v', FORMAT_UNHELD)
  call('PEXPIRE', head_key, int(math.max(call('PTTL', log_key), 0) + HEAD_LINGER_MS))
end
