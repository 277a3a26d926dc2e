#!lua flags=no-writes
-- Finds the greatest sequence that was published before a log time, by bisecting the log: log time never steps back.
--
-- KEYS: head, log. ARGV: the time, in ms. Answers a sequence.
if not string.find(redis.call('INFO', 'replication'), 'role:master', 1, true) then
  return redis.error_reply('READONLY a replica is not asked')
end
local time = tonumber(ARGV[1])
local function run(entry)
  local last, count = string.match(entry[1], '^(%d+)-(%d+)$')
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == 't' then return tonumber(last) - tonumber(count) + 1, tonumber(last), tonumber(fields[i + 1]) end
  end
end
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not oldest then return redis.call('HGET', KEYS[1], 's') or '0' end
local low = run(oldest)
local _, high = run(redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1])
local answer = high
while low <= high do
  local middle = math.floor((low + high) / 2)
  local first, last, at = run(redis.call('XRANGE', KEYS[2], string.format('%.0f', middle), '+', 'COUNT', 1)[1])
  if at < time then
    low = last + 1
  else
    answer, high = first - 1, first - 1
  end
end
return string.format('%.0f', answer)
