#!lua flags=allow-oom
-- Carries out changes of a subscription's books, each for itself: all of a change is compared before any of it is
-- written. Acknowledging and claiming is this, so it asks for no more than it needs: what it compares and writes was
-- made ready by the caller. It runs also where Redis's memory is used up: only what is settled lets the log be trimmed.
--
-- KEYS: books, head, what is out, what waits by time; where a change says more than blocks: the same and what is
--   parked in its order, attempts, JSON that is kept, dead letters by time, the letters, the outbox, ordering keys,
--   what is parked behind them. ARGV: channel, generation; then changes:
--     the sequence from which it claims, '' for none; if there is one: the next after it, the last that it takes, its
--       epoch, the revision;
--     by how many messages more are out, how many may be; how many blocks, and for each its name, and how it is and
--       will be ('' for none);
--     '' or 1, and then: the time before which it comes too early (ms), lost messages; how many are taken out of those
--       that wait, how many will wait, are forgotten, are dead, of how many of the first the attempts are compared, how
--       many close keys, are parked, open keys; the first, and those attempts; the second thrice: due time and
--       sequence, sequence and sequence, sequence and attempts; the third; of the fourth name, sequence and letter
--       each; of those that close keys key and sequence, sequence and key; of the parked key, sequence and place; and
--       those that open.
-- Answers nothing where there are no books; another generation; or Redis's clock (s, us), generation, revision, next,
-- how many are out, epoch and last sequence of the channel, when the next is due that waits ('' for none), and for each
-- change 0 where it was carried out, 1 where something differs, 2 where too much would be out.
--@ SUBSCRIPTION_FORMAT
local call, KEYS, ARGV = redis.call, KEYS, ARGV
local books_key, head_key, out_key, wait_key, channel = KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local books = call('HMGET', books_key, 'v', 'g', 'n', 'o', 'r')
local next, out, revision, position_epoch = books[3], tonumber(books[4]), books[5], nil
if not (books[1] or books[2]) then return {} end
if (books[1] or SUBSCRIPTION_FORMAT) ~= SUBSCRIPTION_FORMAT then
  return redis.error_reply('TIDINGS_FORMAT ' .. books[1] .. ' of ' .. channel)
end
if not (books[1] and books[2] and next and out and revision) then
  return redis.error_reply('TIDINGS_CHANNEL subscription of ' .. channel)
end
if books[2] ~= ARGV[2] then return { books[2] } end
--@ channel_end
local clock, due = call('TIME'), call('ZRANGE', wait_key, 0, 0, 'WITHSCORES')
local order_key, tries_key, kept_key, dead_key, letters_key = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local outbox_key, keys_key, parked_key = KEYS[10], KEYS[11], KEYS[12]
local may, now, dead_bytes, dead_bytes_before = redis.acl_check_cmd, nil, nil, nil
local is_allowed = may('HSET', out_key, 'n', '') and may('HDEL', out_key, 'n')
if order_key then
  now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  dead_bytes = tonumber(call('HGET', books_key, 'db') or '')
  dead_bytes_before = dead_bytes
  if not dead_bytes then return redis.error_reply('TIDINGS_CHANNEL subscription of ' .. channel) end
  -- Keys of another type.
  call('ZCARD', order_key)
  call('HLEN', tries_key)
  call('HLEN', kept_key)
  call('ZCARD', dead_key)
  call('HLEN', letters_key)
  call('ZCARD', outbox_key)
  call('HLEN', keys_key)
  call('ZCARD', parked_key)
  is_allowed = is_allowed and may('ZADD', wait_key, '0', '') and may('ZREM', wait_key, '')
    and may('HINCRBY', books_key, 'x', '1') and may('ZSCORE', wait_key, '') and may('HEXISTS', keys_key, '')
    and may('HSTRLEN', letters_key, '')
end
-- Scripts do not roll back.
if not is_allowed then
  return redis.error_reply(
    'NOPERM this Redis user lacks HSET, HDEL, HINCRBY, HEXISTS, HSTRLEN, ZADD, ZREM or ZSCORE for subscriptions of this channel')
end

-- Of long lists: a call of one command takes some thousand arguments.
local PIECE = 2000
local reply = { clock[1], clock[2], books[2], revision, next, out, end_epoch, end_last, '' }
local at, count, out_before, is_moved, letters_added = 3, 9, out, false, 0
while at <= #ARGV do
  local outcome, from, next_after, of_epoch = 0, ARGV[at], nil, nil
  at = at + 1
  if from ~= '' then
    local of_sequence = tonumber(ARGV[at + 1])
    next_after, of_epoch = ARGV[at], ARGV[at + 2]
    if from ~= next or ARGV[at + 3] ~= revision or of_sequence > last or of_sequence < tonumber(from) then
      outcome = 1
    else
      --@ is_present
      if not is_present then outcome = 1 end
    end
    at = at + 4
  end
  local added, first_block = tonumber(ARGV[at]), at + 3
  local most = ARGV[at + 1]
  at = first_block + 3 * ARGV[at + 2]
  local last_block, is_more = at - 1, ARGV[at] ~= ''
  for i = first_block, last_block, 3 do
    if (call('HGET', out_key, ARGV[i]) or '') ~= ARGV[i + 1] then
      outcome = 1
      break
    end
  end
  at = at + 1
  local lost, takes, takes_end, taken_end, waits_end, orders_end, tries_end, forgets_end, dead_end
  local closes_end, parks_end
  if is_more then
    lost = ARGV[at + 1]
    if tonumber(ARGV[at]) > now then outcome = 1 end
    takes = at + 10
    takes_end = takes + ARGV[at + 2]
    taken_end = takes_end + ARGV[at + 6]
    waits_end = taken_end + 2 * ARGV[at + 3]
    orders_end = waits_end + 2 * ARGV[at + 3]
    tries_end = orders_end + 2 * ARGV[at + 3]
    forgets_end = tries_end + ARGV[at + 4]
    dead_end = forgets_end + 3 * ARGV[at + 5]
    closes_end = dead_end + 4 * ARGV[at + 7]
    parks_end = closes_end + 3 * ARGV[at + 8]
    at = parks_end + ARGV[at + 9]
    for i = takes, takes_end - 1 do
      local due_then = call('ZSCORE', wait_key, ARGV[i])
      if not due_then or tonumber(due_then) > now then
        outcome = 1
        break
      end
    end
    for i = takes_end, taken_end - 1 do
      if (call('HGET', tries_key, ARGV[takes + i - takes_end]) or '') ~= ARGV[i] then
        outcome = 1
        break
      end
    end
  end
  for i = is_more and dead_end or 1, is_more and closes_end - 1 or 0, 4 do
    if call('HEXISTS', keys_key, ARGV[i]) == 1 then
      outcome = 1
      break
    end
  end
  if outcome == 0 and added > 0 and out + added > tonumber(most) then outcome = 2 end
  if outcome == 0 then
    for i = first_block, last_block, 3 do
      if ARGV[i + 2] == '' then call('HDEL', out_key, ARGV[i]) else call('HSET', out_key, ARGV[i], ARGV[i + 2]) end
    end
    out = out + added
    if next_after then next, position_epoch, is_moved = next_after, of_epoch, true end
  end
  if outcome == 0 and is_more then
    for i = takes, takes_end - 1, PIECE do
      local to = math.min(i + PIECE, takes_end) - 1
      call('ZREM', wait_key, unpack(ARGV, i, to))
      call('ZREM', order_key, unpack(ARGV, i, to))
    end
    for i = taken_end, waits_end - 1, PIECE do
      call('ZADD', wait_key, unpack(ARGV, i, math.min(i + PIECE, waits_end) - 1))
    end
    for i = waits_end, orders_end - 1, PIECE do
      call('ZADD', order_key, unpack(ARGV, i, math.min(i + PIECE, orders_end) - 1))
    end
    for i = orders_end, tries_end - 1, PIECE do
      call('HSET', tries_key, unpack(ARGV, i, math.min(i + PIECE, tries_end) - 1))
    end
    for i = tries_end, forgets_end - 1, PIECE do
      local to = math.min(i + PIECE, forgets_end) - 1
      call('HDEL', tries_key, unpack(ARGV, i, to))
      call('HDEL', kept_key, unpack(ARGV, i, to))
    end
    for i = forgets_end, dead_end - 1, 3 do
      letters_added = letters_added + 1
      dead_bytes = dead_bytes - call('HSTRLEN', letters_key, ARGV[i]) + #ARGV[i + 2]
      call('ZADD', dead_key, now, ARGV[i])
      call('HSET', letters_key, ARGV[i], ARGV[i + 2])
      call('ZADD', outbox_key, now, ARGV[i])
      call('HDEL', tries_key, ARGV[i + 1])
      call('HDEL', kept_key, ARGV[i + 1])
    end
    for i = dead_end, closes_end - 1, PIECE do
      call('HSET', keys_key, unpack(ARGV, i, math.min(i + PIECE, closes_end) - 1))
    end
    for i = closes_end, parks_end - 1, 3 do
      local key, sequence = ARGV[i], ARGV[i + 1]
      if call('HEXISTS', keys_key, key) == 1 then
        call('ZADD', parked_key, '0', ARGV[i + 2])
      else
        call('HSET', keys_key, key, sequence, sequence, key)
        call('ZADD', wait_key, now, sequence)
      end
      call('ZADD', order_key, sequence, sequence)
    end
    for i = parks_end, at - 1 do
      local key = call('HGET', keys_key, ARGV[i])
      if key then
        call('HDEL', keys_key, ARGV[i])
        local behind = call('ZRANGE', parked_key, '[' .. key .. ':', '(' .. key .. ';', 'BYLEX', 'LIMIT', '0', '1')[1]
        if behind then
          local sequence = string.sub(behind, -16)
          call('ZREM', parked_key, behind)
          call('HSET', keys_key, key, sequence, sequence, key)
          call('ZADD', wait_key, now, sequence)
        else
          call('HDEL', keys_key, key)
        end
      end
    end
    if lost ~= '0' then call('HINCRBY', books_key, 'x', lost) end
  end
  count = count + 1
  reply[count] = outcome
end
if dead_bytes ~= dead_bytes_before then
  --@ remove_letters
  call('HSET', books_key, 'db', dead_bytes)
end
if is_moved then
  call('HSET', books_key, 'n', next, 'pe', position_epoch, 'o', out)
elseif out ~= out_before then
  call('HSET', books_key, 'o', out)
end
if order_key then due = call('ZRANGE', wait_key, 0, 0, 'WITHSCORES') end
reply[5], reply[6], reply[9] = next, out, due[2] or ''
return reply
