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
local function read(start, count)
  if up then return redis.call('XRANGE', key, start, '+', 'COUNT', count) end
  return redis.call('XREVRANGE', key, start, '-', 'COUNT', count)
end
local reply, messages, bytes, last = { head_of(KEYS[1], key, KEYS[3]), 0 }, 0, 0, nil
-- The first run shows how large the others probably are: what is read beyond the page was copied for nothing, and a
-- run may have a megabyte.
local step = 1
while true do
  local runs = read(from, step)
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
      if #read('(' .. last, 1) == 0 then reply[2] = 1 end
      return reply
    end
  end
  if #runs < step then
    reply[2] = 1
    return reply
  end
  from = '(' .. last
  -- As many as fill the page where they are like those that were read.
  local filled = math.max(messages / max_messages, bytes / max_bytes)
  step = filled > 0 and math.ceil((1 - filled) / filled * (#reply - 2)) or READ_STEP_RUNS
  step = math.min(step, READ_STEP_RUNS)
end
