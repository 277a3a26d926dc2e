-- What `optimistic.lua` does behind a trim: write into the head what is new of it, and push.
  call('HSET', head_key, 'oid', oldest, 'ob', int(oldest_bytes), 'ot', int(oldest_time))
end
call('HSET', head_key, 's', ARGV[5], 't', ARGV[6], 'b', string.format('%d', bytes_then), 'w', ARGV[3])
if is_full_call then
  if is_kept then call('PEXPIRE', log_key, log_lives) end
  call('PEXPIRE', head_key, ARGV[12])
end
for i = FIRST_MESSAGE, FIRST_MESSAGE + new - 1 do call('PUBLISH', channel, ARGV[i]) end
return clock_ms
