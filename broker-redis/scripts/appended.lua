-- What `optimistic.lua` does with more than one message, and what comes of it.
  local next = 1
  while not failed and next <= new do next, failed = append(next) end
end
if failed then
  -- The log is ahead of the head, or is none, which the first run finds already.
  if string.find(failed.err, 'equal or smaller', 1, true) or string.find(failed.err, 'WRONGTYPE', 1, true) then return 0 end
  return failed
end
if is_full then
  bytes = bytes_then
