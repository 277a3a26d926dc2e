-- Appends messages to a channel's log, run by run. The code before it has these locals: `new`, how many; `jsons`,
-- which has them after `skipped` others; `hashes`, where they are adopted; `before`, the sequence before the first of
-- them; `now`; and `bytes`, on which it counts. It leaves `append`, which appends a run and answers where the next one
-- begins, or nothing and the error.
local function append(from)
  local run, size, i = { 't', int(now), 'b', '' }, 0, from
  local fields = 4
  while i <= new and i - from < run_messages and (i == from or size + #jsons[skipped + i] <= run_bytes) do
    local json = jsons[skipped + i]
    size = size + #json
    run[fields + 1], run[fields + 2] = 'm', json
    fields = fields + 2
    if hashes then
      run[fields + 1], run[fields + 2] = 'r', hashes[i]
      fields = fields + 2
    end
    i = i + 1
  end
  run[4] = int(bytes + size)
  local id = int(before + i - 1) .. '-' .. int(i - from)
  local added = redis.pcall('XADD', log_key, id, unpack(run))
  if type(added) == 'table' and added.err then return nil, added end
  bytes = bytes + size
  return i
end
