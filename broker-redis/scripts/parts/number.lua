-- Numbers messages whose JSON lacks date, number and epoch: the code before it has these locals: `new`, how many;
-- `heads` and `tails`, their JSON but for that, in lists, which spares a table a message; `is_dated`, whether the heads
-- have a date already. The code after it finds `jsons`, and in `before` the sequence before the first of them.
--
-- The epoch. An unbroken history has one replication id, and all that was given out.
if not old_epoch or head[6] ~= replication or is_lost then begin_epoch() end

-- After an adopted message comes the hash of what the plain program published.
local jsons, skipped, before = {}, 0, last
local function stamp()
  local between = ',"epoch":"' .. epoch .. '"'
  local closing = between .. '}'
  local dated = is_dated and ',"sequence":' or ',"date":"' .. iso(now) .. '","sequence":'
  for i = 1, new do
    local tail = tails[i]
    -- Most have no more than the closing brace.
    jsons[i] = heads[i] .. dated .. int(before + i) .. (tail == '}' and closing or between .. tail)
  end
end
stamp()
-- Where the log is ahead of the head: continues after it, in a new epoch, and drops nothing.
local function continue_after_log()
  local log_last, log_time, log_bytes = log_end()
  -- Its last entry is none of ours.
  if not (log_last and log_time and log_bytes) then return false end
  last, time, bytes = log_last, log_time, log_bytes
  before = last
  own_end, now = math.max(own_end, last), math.max(now, time)
  begin_epoch()
  stamp()
  return true
end
