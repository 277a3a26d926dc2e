#!lua
-- Puts dead letters back. One that will be handed out by itself, as after a seek, is only removed; one whose sequence
-- is out or waits stays. One of a closed key is parked. What is put back leaves the outbox. ARGV, after those of
-- `subscription.lua`: in how long the first is due, and each after the one before it (ms); then for each when it died
-- (ms), its sequence (16 digits), and its epoch. Answers how many were put back.
--@ subscription
--@ channel_end
--@ first_kept

if not is_there then return 0 end
local may = redis.acl_check_cmd
if not (may('HSET', kept_key, 'n', '') and may('HDEL', letters_key, 'n') and may('ZADD', wait_key, '0', '')
    and may('ZREM', dead_key, '') and may('ZSCORE', dead_key, '') and may('HEXISTS', keys_key, '')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks HSET, HDEL, HEXISTS, ZADD, ZREM or ZSCORE for subscriptions of this channel')
end
-- Keys of another type.
call('ZCARD', wait_key)
call('ZCARD', order_key)
call('HLEN', tries_key)
call('HLEN', kept_key)
call('ZCARD', dead_key)
call('ZCARD', outbox_key)
call('HLEN', keys_key)
call('ZCARD', parked_key)
local low, high = math.huge, 0
for i = 4, #ARGV, 3 do
  local sequence = tonumber(ARGV[i + 1])
  low, high = math.min(low, sequence), math.max(high, sequence)
end
--@ out_between
-- What is no letter is found before anything is written.
for i = 4, #ARGV, 3 do
  local record = call('HGET', letters_key, ARGV[i + 1] .. '.' .. ARGV[i + 2])
  if record and not string.find(record, '^%d+,%-?%d+,%d+,?%x*;%d+;') then return damaged('subscription') end
end
local count, dead_bytes, due = 0, tonumber(books[11]), now + ARGV[2]
for i = 4, #ARGV, 3 do
  local name = ARGV[i + 1] .. '.' .. ARGV[i + 2]
  local of_sequence, of_epoch = tonumber(ARGV[i + 1]), ARGV[i + 2]
  local record = call('HGET', letters_key, name)
  -- What is kept of a sequence is one message's.
  local is_taken = out[of_sequence] or call('ZSCORE', order_key, ARGV[i + 1])
  if record and not is_taken and call('ZSCORE', dead_key, name) == ARGV[i] then
    local first_time, redrives, key, reason, json = string.match(record, '^%d+,(-?%d+),(%d+),?(%x*);(%d+);()')
    --@ is_present
    local is_ahead = is_present and of_sequence >= next and of_sequence <= last
    if not (is_ahead and first_kept and first_kept <= of_sequence) then
      local sequence = ARGV[i + 1]
      call('ZADD', order_key, sequence, sequence)
      call('HSET', tries_key, sequence, '0,' .. first_time .. ',' .. int(redrives + 1))
      call('HSET', kept_key, sequence, string.sub(record, json + reason))
      if key ~= '' and call('HEXISTS', keys_key, key) == 1 then
        -- Behind all that have been handed out so far.
        call('ZADD', parked_key, '0', key .. ':' .. string.format('%016d', next - 1) .. ':' .. sequence)
      else
        if key ~= '' then call('HSET', keys_key, key, sequence, sequence, key) end
        call('ZADD', wait_key, int(due), sequence)
        due = due + ARGV[3]
      end
    end
    call('ZREM', dead_key, name)
    call('ZREM', outbox_key, name)
    call('HDEL', letters_key, name)
    dead_bytes, count = dead_bytes - #record, count + 1
  end
end
if count > 0 then call('HSET', books_key, 'db', int(dead_bytes)) end
return count
