-- Trims a log that may be full: the oldest run goes while what follows it fills the limit, which is another for runs
-- that subscriptions hold. Its numbers are remembered in the head, so that most calls look at no entry. The code before
-- it has these locals: `is_full`, whether to look at all; `hold`, what is held, as the head has it; `oldest`, the ID of
-- the oldest run, its `oldest_bytes` and `oldest_time`; `last`, `bytes` and `now` of the newest.
if is_full then
  --@ TRIMMED_RUNS HOLD_MESSAGES_FACTOR
  local cut
  local held_from, held_age, held_bytes = string.match(hold or '', '^(%d+),(%d+),(%d+)$')
  held_from = tonumber(held_from or '') or math.huge
  local kept_messages, kept_bytes, kept_age = max_messages, max_bytes, max_age
  local function look(from)
    local entry = call('XRANGE', log_key, from, '+', 'COUNT', 1)[1]
    oldest, oldest_bytes, oldest_time = entry[1], tonumber(field(entry, 'b')), tonumber(field(entry, 't'))
  end
  if not oldest then look('-') end
  for _ = 1, TRIMMED_RUNS do
    local oldest_last = run_id(oldest)
    if oldest_last >= last then break end
    if oldest_last >= held_from then
      kept_messages, kept_bytes = HOLD_MESSAGES_FACTOR * max_messages, math.max(max_bytes, tonumber(held_bytes))
      kept_age, held_from = math.max(max_age, tonumber(held_age)), math.huge
    end
    if last - oldest_last < kept_messages and bytes - oldest_bytes < kept_bytes and oldest_time >= now - kept_age then
      break
    end
    look(int(oldest_last + 1))
    cut = oldest
  end
  if cut then call('XTRIM', log_key, 'MINID', '=', cut) end
end
