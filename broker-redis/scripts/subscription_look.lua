#!lua flags=no-writes
-- Looks into a subscription's books.
--
-- ARGV, after those of `subscription.lua`: 1 to look for the lowest sequence that is not settled; how many blocks at
-- most whose time is over, '' for none, and by how much at least (ms). Answers nothing where there are no books; or
-- Redis's clock (s, us), generation, revision, next, how many are out, epoch and last sequence of the channel, when the
-- next is due that waits ('' for none); settings, when it was created and used (ms), the epoch of the position before
-- next, how many wait, are parked, are dead, are in the outbox, and were lost, how many streams are open on it, the
-- lowest sequence that is not settled ('' for none); and name and content of each block whose time is over.
--@ CONSUMERS_KEPT_MS
--@ subscription
--@ channel_end

if not is_there then return {} end
local seeks_oldest, limit, grace = ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local due = call('ZRANGE', wait_key, 0, 0, 'WITHSCORES')[2] or ''
-- As each process has said.
local consumers = 0
for count, said in string.gmatch(books[13] or '', ',(%d+),(%d+);') do
  if math.abs(now - said) < CONSUMERS_KEPT_MS then consumers = consumers + count end
end
local reply = { clock[1], clock[2], generation, books[6], books[3], books[5], end_epoch, end_last, due, books[7],
  books[8], books[9], books[4], call('ZCARD', wait_key), call('ZCARD', parked_key), call('ZCARD', dead_key),
  call('ZCARD', outbox_key), books[10], consumers, '' }
local FIRST_BLOCK = #reply + 1
local oldest
if seeks_oldest then
  oldest = next <= last and next or nil
  local waiting = call('ZRANGE', order_key, 0, 0, 'WITHSCORES')[2]
  if waiting then oldest = math.min(tonumber(waiting), oldest or math.huge) end
end
local blocks = (seeks_oldest or limit) and call('HGETALL', out_key) or {}
for i = 1, #blocks, 2 do
  local block = blocks[i + 1]
  local deadline, first = tonumber(string.sub(block, 1, 14)), tonumber(string.sub(block, 15, 30))
  if not (deadline and first) then return damaged('subscription') end
  if limit and #reply - FIRST_BLOCK + 1 < 2 * limit and deadline + grace <= now then
    reply[#reply + 1], reply[#reply + 2] = blocks[i], block
  end
  if seeks_oldest and first < (oldest or math.huge) then
    -- Its first bit that is set.
    for byte = 31, #block do
      local bits = string.byte(block, byte)
      if bits > 0 then
        local sequence = first + 8 * (byte - 31)
        while bits % 2 == 0 do bits, sequence = bits / 2, sequence + 1 end
        oldest = math.min(sequence, oldest or math.huge)
        break
      end
    end
  end
end
if oldest then reply[FIRST_BLOCK - 1] = int(oldest) end
return reply
