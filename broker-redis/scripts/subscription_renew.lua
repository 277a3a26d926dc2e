#!lua
-- Notes that a subscription is in use, renews what it holds of the log, and removes dead letters that are too old.
--
-- ARGV, after those of `subscription.lua`: the name; 1 where it is in use; the age to which it holds the log (ms), ''
-- to hold no more than before, and the bytes; a process, '' for none, and how many streams it has open; when the one
-- that is meant was created (ms), '' for any. Answers 1, or 0 where there are no books, or others.
--@ CONSUMERS_KEPT_MS
--@ subscription
--@ hold_of

if not is_there or ARGV[8] ~= '' and books[8] ~= ARGV[8] then return 0 end
local name, is_used, hold_age, hold_bytes, process, streams = ARGV[2], ARGV[3] == '1', ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if not (redis.acl_check_cmd('HSET', books_key, 'u', '') and may_hold and redis.acl_check_cmd('ZREM', dead_key, '')
    and redis.acl_check_cmd('HSTRLEN', letters_key, '') and redis.acl_check_cmd('HINCRBY', books_key, 'x', '1')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks HSET, HDEL, HVALS, HSTRLEN, HINCRBY, ZREM, PTTL or PEXPIRE for subscriptions of this channel')
end
if is_used then call('HSET', books_key, 'u', int(now)) end
if process ~= '' then
  -- 'process,streams,ms;…', of those that have some.
  local said = streams ~= '0' and process .. ',' .. streams .. ',' .. int(now) .. ';' or ''
  for other, count, time in string.gmatch(books[13] or '', '(%x+),(%d+),(%d+);') do
    if other ~= process and math.abs(now - time) < CONSUMERS_KEPT_MS then said = said .. other .. ',' .. count .. ',' .. time .. ';' end
  end
  if said ~= (books[13] or '') then call('HSET', books_key, 'cc', said) end
end
if hold_age ~= '' then
  -- What is before the first message of all blocks is settled: their bits matter little here.
  local lowest = next
  local waiting = call('ZRANGE', order_key, 0, 0, 'WITHSCORES')[2]
  if waiting then lowest = math.min(lowest, tonumber(waiting)) end
  for _, block in ipairs(call('HVALS', out_key)) do
    local first = tonumber(string.sub(block, 15, 30))
    if not first then return damaged('subscription') end
    if first < lowest then lowest = first end
  end
  call('HSET', subs_key, name, int(lowest) .. ',' .. hold_age .. ',' .. hold_bytes)
  --@ hold
end
local dead_bytes, letters_added = tonumber(books[11]), 0
--@ remove_letters
if dead_bytes ~= tonumber(books[11]) then call('HSET', books_key, 'db', int(dead_bytes)) end
return 1
