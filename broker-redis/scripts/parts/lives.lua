-- How long log and head live where subscriptions hold the log: what is published now may be held for the hold's whole
-- age, and the head is needed as long as there are subscriptions. The code before it has these locals: `hold`, as the
-- head has it; `max_age`; `log_lives` and `head_lives`, which it changes.
if hold then
  --@ HEAD_HELD_MS
  local held_age = tonumber(string.match(hold, ',(%d+),') or 0)
  if held_age > max_age then log_lives = string.format('%d', log_lives + held_age - max_age) end
  head_lives = HEAD_HELD_MS
end
