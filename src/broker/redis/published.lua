-- What `publish.lua` does when the messages are written: remember their ids, push, answer.
if has_ids then
  local receipt = ':' .. epoch .. ':' .. int(now)
  for place, id in pairs(ids) do call('HSET', ids_now, id, int(before + place) .. receipt) end
end
for i = 1, new do call('PUBLISH', channel, jsons[i]) end
if fresh_ids > 0 then call('PEXPIRE', ids_now, int(3 * window)) end
local old_generation = tonumber(head[11])
if old_generation and old_generation < generation then
  call('UNLINK', ids_key .. int(old_generation - 1))
  if old_generation < generation - 1 then call('UNLINK', ids_key .. int(old_generation)) end
end
return answer(before)
