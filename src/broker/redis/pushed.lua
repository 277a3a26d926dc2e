-- What `prepared.lua` does when the messages are in the log: write into the head what is new of it, and push.
call('HSET', head_key, 's', ARGV[5], 't', ARGV[6], 'b', int(bytes), 'w', ARGV[3])
if is_full then call('HSET', head_key, 'oid', oldest, 'ob', int(oldest_bytes), 'ot', int(oldest_time)) end
if is_full_call then
  if is_kept then call('PEXPIRE', log_key, log_lives) end
  call('PEXPIRE', head_key, ARGV[12])
end
for i = 1, new do call('PUBLISH', channel, jsons[skipped + i]) end
return clock_ms
