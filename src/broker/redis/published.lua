-- What `publish.lua` does when the messages are written: remember their ids, push, answer.
for _, message in ipairs(messages) do
  results[message.place] = message.sequence
  if message.id ~= '' then
    redis.call('HSET', ids_now, message.id, int(message.sequence) .. ':' .. epoch .. ':' .. int(now))
  end
  redis.call('PUBLISH', channel, message.json)
end
if fresh_ids > 0 then redis.call('PEXPIRE', ids_now, int(3 * window)) end
local old_generation = tonumber(head[11])
if old_generation and old_generation < generation then
  redis.call('UNLINK', ids_key .. int(old_generation - 1))
  if old_generation < generation - 1 then redis.call('UNLINK', ids_key .. int(old_generation)) end
end
return answer()
