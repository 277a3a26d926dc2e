#!lua flags=no-writes
-- What became of messages that are in no block that their ack ids know. ARGV, after those of `subscription.lua`: the
-- generation; then sequence (16 digits) and epoch of each. Answers 1 for each that is settled, otherwise 0.
--@ subscription
--@ channel_end
--@ first_kept

local reply, low, high = {}, math.huge, 0
local is_of_now = is_there and generation == ARGV[2]
for i = 3, is_of_now and #ARGV or 0, 2 do
  local sequence = tonumber(ARGV[i])
  low, high = math.min(low, sequence), math.max(high, sequence)
end
--@ out_between
for i = 3, #ARGV, 2 do
  local of_sequence, of_epoch = tonumber(ARGV[i]), ARGV[i + 1]
  --@ is_present
  local is_settled = is_of_now and is_present and of_sequence < next and not out[of_sequence]
    and (books[10] == '0' or (first_kept and first_kept <= of_sequence))
    and not call('ZSCORE', order_key, ARGV[i])
  -- What died before the subscription was moved may have been settled since.
  local died = is_settled and tonumber(call('ZSCORE', dead_key, ARGV[i] .. '.' .. of_epoch) or '')
  if died and died >= tonumber(books[12] or 0) then is_settled = false end
  reply[#reply + 1] = is_settled and 1 or 0
end
return reply
