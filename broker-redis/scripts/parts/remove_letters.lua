-- Removes dead letters that are too old or too many, the oldest first. Those that were never published are lost. The
-- code before it has these locals: `call`, `books_key`, `dead_key`, `letters_key`, `outbox_key`, `now`; and
-- `dead_bytes`, on which it counts, and `letters_added`, so that a call that adds many removes as many.
--@ DEAD_AGE_MS DEAD_BYTES DEAD_REMOVED
for _ = 1, DEAD_REMOVED + letters_added do
  local oldest = call('ZRANGE', dead_key, 0, 0, 'WITHSCORES')
  if not oldest[1] or (dead_bytes <= DEAD_BYTES and tonumber(oldest[2]) >= now - DEAD_AGE_MS) then break end
  dead_bytes = dead_bytes - call('HSTRLEN', letters_key, oldest[1])
  call('ZREM', dead_key, oldest[1])
  call('HDEL', letters_key, oldest[1])
  if call('ZREM', outbox_key, oldest[1]) == 1 then call('HINCRBY', books_key, 'x', '1') end
end
