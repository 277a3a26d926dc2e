-- Leaves a channel's head as what was written makes it. The code before it has the locals of `write.lua` and
-- `trim.lua`.
--@ lives
if max_messages > 0 then call('PEXPIRE', log_key, log_lives) end
call('HSET', head_key, 'v', own_format, 'e', epoch, 's', int(last), 't', int(now), 'b', int(bytes), 'r', replication,
  'h', new_history, 'oid', oldest or '0-0', 'ob', int(oldest_bytes or 0), 'ot', int(oldest_time or 0),
  'w', candidate, 'p', new_writers)
if hold and not head[18] then call('HSET', head_key, 'hd', hold) end
if new_losses ~= losses then call('HSET', head_key, 'l', new_losses) end
call('PEXPIRE', head_key, head_lives)
