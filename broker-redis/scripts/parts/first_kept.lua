-- The first sequence that the log retains; nothing where it retains none. The code before it has the locals `call` and
-- `log_key`.
local first_kept
local oldest_run = call('XRANGE', log_key, '-', '+', 'COUNT', 1)[1]
if oldest_run then
  local run_last, count = string.match(oldest_run[1], '^(%d+)-(%d+)$')
  first_kept = run_last - count + 1
end
