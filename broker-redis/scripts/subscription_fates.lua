#!lua flags=no-writes
-- What became of messages that are in no block that their ack ids know. ARGV, after those of `subscription.lua`: the
-- generation; then sequence (16 digits) and epoch of each. Answers 1 for each that is settled, otherwise 0.
--@ subscription
--@ channel_end
--@ first_kept

local reply, out, low, high = {}, {}, math.huge, 0
local is_of_now = is_there and generation == ARGV[2]
for i = 3, #ARGV, 2 do
  local sequence = tonumber(ARGV[i])
  low, high = math.min(low, sequence), math.max(high, sequence)
end
-- What is out, as far as it is asked for.
for _, block in ipairs(is_of_now and call('HVALS', out_key) or {}) do
  local first = tonumber(string.sub(block, 15, 30))
  if not first then return damaged('subscription') end
  if first <= high and first + 8 * (#block - 30) > low then
    for byte = 31, #block do
      local bits, sequence = string.byte(block, byte), first + 8 * (byte - 31)
      while bits > 0 do
        if bits % 2 == 1 then
          out[sequence] = true
          bits = bits - 1
        end
        bits, sequence = bits / 2, sequence + 1
      end
    end
  end
end
for i = 3, #ARGV, 2 do
  local of_sequence, of_epoch = tonumber(ARGV[i]), ARGV[i + 1]
  --@ is_present
  local is_settled = is_of_now and is_present and of_sequence < next and not out[of_sequence]
    and (books[10] == '0' or (first_kept and first_kept <= of_sequence))
    and not call('ZSCORE', wait_key, ARGV[i]) and not call('ZSCORE', dead_key, ARGV[i] .. '.' .. of_epoch)
  reply[#reply + 1] = is_settled and 1 or 0
end
return reply
