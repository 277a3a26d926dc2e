-- The messages that are out from the sequence `low` to `high`. The code before it has the locals of `subscription.lua`,
-- and these two. It leaves `out`: true for each.
local out = {}
for _, block in ipairs(low <= high and call('HVALS', out_key) or {}) do
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
