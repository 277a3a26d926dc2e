-- Trims a log that may be full: the oldest run goes while what follows it fills the limit. Its numbers are remembered
-- in the head, so that most calls look at no entry. The code before it has these locals: `is_full`, whether to look
-- at all; `oldest`, the ID of the oldest run, its `oldest_bytes` and `oldest_time`; `last`, `bytes` and `now` of the
-- newest.
if is_full then
  --@ TRIMMED_RUNS
  local cut
  local function look(from)
    local entry = call('XRANGE', log_key, from, '+', 'COUNT', 1)[1]
    oldest, oldest_bytes, oldest_time = entry[1], tonumber(field(entry, 'b')), tonumber(field(entry, 't'))
  end
  if not oldest then look('-') end
  for _ = 1, TRIMMED_RUNS do
    local oldest_last = run_id(oldest)
    if oldest_last >= last then break end
    if last - oldest_last < max_messages and bytes - oldest_bytes < max_bytes and oldest_time >= now - max_age then
      break
    end
    look(int(oldest_last + 1))
    cut = oldest
  end
  if cut then call('XTRIM', log_key, 'MINID', '=', cut) end
end
