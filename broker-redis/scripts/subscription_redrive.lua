#!lua
-- Puts dead letters back. One that will be handed out by itself, as after a seek, is only removed. All leave the
-- outbox. ARGV, after those of `subscription.lua`: in how long the first is due, and each after the one before it
-- (ms); then for each when it died (ms), its sequence (16 digits), and its epoch. Answers how many were there.
--@ subscription
--@ channel_end
--@ first_kept

if not is_there then return 0 end
local may = redis.acl_check_cmd
if not (may('HSET', kept_key, 'n', '') and may('HDEL', letters_key, 'n') and may('ZADD', wait_key, '0', '')
    and may('ZREM', dead_key, '')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks HSET, HDEL, ZADD or ZREM for subscriptions of this channel')
end
-- Keys of another type.
call('ZCARD', wait_key)
call('ZCARD', order_key)
call('HLEN', tries_key)
call('HLEN', kept_key)
call('ZCARD', dead_key)
call('ZCARD', outbox_key)
local count, dead_bytes, due = 0, tonumber(books[11]), now + ARGV[2]
for i = 4, #ARGV, 3 do
  local name = ARGV[i + 1] .. '.' .. ARGV[i + 2]
  local record = call('HGET', letters_key, name)
  if record and call('ZSCORE', dead_key, name) == ARGV[i] then
    local first_time, redrives, reason, json = string.match(record, '^%d+,(-?%d+),(%d+);(%d+);()')
    if not json then return damaged('subscription') end
    local of_sequence, of_epoch = tonumber(ARGV[i + 1]), ARGV[i + 2]
    --@ is_present
    local is_ahead = is_present and of_sequence >= next and of_sequence <= last
    if not (is_ahead and first_kept and first_kept <= of_sequence) then
      local sequence = ARGV[i + 1]
      call('ZADD', wait_key, int(due), sequence)
      call('ZADD', order_key, sequence, sequence)
      call('HSET', tries_key, sequence, '0,' .. first_time .. ',' .. int(redrives + 1))
      call('HSET', kept_key, sequence, string.sub(record, json + reason))
      due = due + ARGV[3]
    end
    call('ZREM', dead_key, name)
    call('ZREM', outbox_key, name)
    call('HDEL', letters_key, name)
    dead_bytes, count = dead_bytes - #record, count + 1
  end
end
if count > 0 then call('HSET', books_key, 'db', int(dead_bytes)) end
return count
