-- Trims a log that may be full: the oldest run goes while it fits neither the history's limits nor, where subscriptions
-- hold it, those of what is held. Its numbers are remembered in the head, so that most calls look at no entry. The code
-- before it has these locals: `is_full`, whether to look at all; `hold`, what is held, as the head has it; `oldest`,
-- the ID of the oldest run, its `oldest_bytes` and `oldest_time`; `last`, `bytes` and `now` of the newest.
if is_full then
  --@ TRIMMED_RUNS HOLD_MESSAGES_FACTOR
  local cut
  local held_from, held_age, held_bytes = string.match(hold or '', '^(%d+),(%d+),(%d+)$')
  held_from, held_age, held_bytes = tonumber(held_from or ''), tonumber(held_age or ''), tonumber(held_bytes or '')
  local function look(from)
    local entry = call('XRANGE', log_key, from, '+', 'COUNT', 1)[1]
    oldest, oldest_bytes, oldest_time = entry[1], tonumber(field(entry, 'b')), tonumber(field(entry, 't'))
  end
  if not oldest then look('-') end
  for _ = 1, TRIMMED_RUNS do
    local oldest_last = run_id(oldest)
    if oldest_last >= last then break end
    local messages, size = last - oldest_last, bytes - oldest_bytes
    if messages < max_messages and size < max_bytes and oldest_time >= now - max_age then break end
    if held_from and oldest_last >= held_from and messages < HOLD_MESSAGES_FACTOR * max_messages and size < held_bytes
        and oldest_time >= now - held_age then
      break
    end
    look(int(oldest_last + 1))
    cut = oldest
  end
  if cut then call('XTRIM', log_key, 'MINID', '=', cut) end
end
