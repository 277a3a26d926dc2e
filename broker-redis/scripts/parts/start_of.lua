-- Where a subscription begins. A position that is beyond the channel's end, since Redis has lost what was there, is the
-- end. The code before it has the locals of `channel_end.lua`, and `start`, 'end' or the sequence after which it
-- begins, with `start_epoch`. It leaves `next` (a number) and `start_epoch` as the books have it.
local next
if start == 'end' or tonumber(start) > last then
  next, start_epoch = last + 1, end_epoch
else
  next = start + 1
end
