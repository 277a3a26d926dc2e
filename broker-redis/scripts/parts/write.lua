-- Writes messages of one channel, new epochs and all. The code before it has these locals, beside those that
-- `append.lua` and `trim.lua` need: `new_history`, the epochs; `continue_after_log`, for a log that is ahead of the
-- head.
if max_messages > 0 then
  local next, failed = append(1)
  if failed and string.find(failed.err, 'equal or smaller', 1, true) then
    if not continue_after_log() then return not_ours('log') end
    next, failed = append(1)
  end
  -- The first of all writes: where it is refused, nothing is written.
  if failed then return not_ours('log') end
  while not failed and next <= new do next, failed = append(next) end
  if failed then return failed end
else
  for i = 1, new do bytes = bytes + #jsons[i] end
end
last = before + new
local oldest, oldest_bytes, oldest_time = head[8], tonumber(head[9]), tonumber(head[10])
if not head[2] then oldest = nil end
local is_full = max_messages > 0
