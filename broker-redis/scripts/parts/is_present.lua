-- Whether a message is in the channel's present history. The code before it has the locals of `channel_end.lua`, and
-- `of_epoch` and `of_sequence`, a number. It leaves `is_present`.
local is_present = of_epoch == end_epoch and of_epoch ~= ''
if not is_present and of_epoch ~= '' then
  local oldest, before, is_listed
  for name, first in string.gmatch(call('HGET', head_key, 'h') or '', '(%x+),(%d+),%d+') do
    oldest = oldest or tonumber(first)
    -- An epoch ends where the next one begins.
    if before == of_epoch then is_present = of_sequence < tonumber(first) end
    is_listed = is_listed or name == of_epoch
    before = name
  end
  -- What is older than the list is believed to have been whole.
  if not is_listed and oldest then is_present = of_sequence < oldest end
end
