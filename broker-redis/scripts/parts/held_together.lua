-- What a channel's subscriptions hold of its log together: from the lowest message that any of them has not settled,
-- to the greatest age and the most bytes. The code before it has the locals `int`, and `holds`, what each holds. It
-- leaves `held`, '<sequence>,<age, ms>,<bytes>' or '' for nothing, and `held_from`, `held_age`, `held_bytes`.
local held, held_from, held_age, held_bytes = '', nil, 0, 0
for _, entry in ipairs(holds) do
  local from, age, most = string.match(entry, '^(%d+),(%d+),(%d+)$')
  if from then
    held_from = math.min(tonumber(from), held_from or math.huge)
    held_age, held_bytes = math.max(held_age, tonumber(age)), math.max(held_bytes, tonumber(most))
  end
end
if held_from then held = int(held_from) .. ',' .. int(held_age) .. ',' .. int(held_bytes) end
