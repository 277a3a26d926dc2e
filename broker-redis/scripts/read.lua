#!lua flags=no-writes
-- Reads a page of a log, and the channel's head at the same moment: whole runs, until a limit is reached.
--
-- KEYS: head, log, data set. ARGV: 'up' or 'down', where to begin, max messages, max bytes. Upwards it begins with the
-- run that holds the sequence or is the first above it; downwards with the run that holds it or is the last below it,
-- or the newest for '+'. Answers: the head, 1 when the log ends with the page (otherwise 0), then for each run its ID
-- followed by its messages; an adopted one is a list of its JSON, the hash of what was published, and its log time.
--@ head_of

--@ READ_STEP_RUNS
local key, up, from = KEYS[2], ARGV[1] == 'up', ARGV[2]
local max_messages, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
if not up and from ~= '+' then
  local holder = redis.call('XRANGE', key, from, '+', 'COUNT', 1)[1]
  if not holder then
    from = '+'
  else
    -- Numbers may be missing between two runs: what was published meanwhile by a publisher that keeps no history.
    local last, count = string.match(holder[1], '^(%d+)-(%d+)$')
    from = (last - count + 1 > tonumber(from) and '(' or '') .. holder[1]
  end
end
local function step()
  if up then return redis.call('XRANGE', key, from, '+', 'COUNT', READ_STEP_RUNS) end
  return redis.call('XREVRANGE', key, from, '-', 'COUNT', READ_STEP_RUNS)
end
local reply, messages, bytes, last = { head_of(KEYS[1], key, KEYS[3]), 0 }, 0, 0, nil
while true do
  local runs = step()
  for _, run in ipairs(runs) do
    local fields = run[2]
    local entry = { run[1] }
    for i = 1, #fields, 2 do
      if fields[i] == 'm' then
        entry[#entry + 1] = fields[i + 2] == 'r' and { fields[i + 1], fields[i + 3], fields[2] } or fields[i + 1]
        messages, bytes = messages + 1, bytes + #fields[i + 1]
      end
    end
    last = run[1]
    reply[#reply + 1] = entry
    if messages >= max_messages or bytes >= max_bytes then
      local edge = up and redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1) or redis.call('XRANGE', key, '-', '+', 'COUNT', 1)
      if edge[1][1] == last then reply[2] = 1 end
      return reply
    end
  end
  if #runs < READ_STEP_RUNS then
    reply[2] = 1
    return reply
  end
  from = '(' .. last
end
