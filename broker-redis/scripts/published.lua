-- What `publish.lua` does when the messages are written: remember their ids, push, answer.
if has_ids then
  local receipt = ':' .. epoch .. ':' .. int(now)
  for place, id in pairs(ids) do call('HSET', ids_now, id, int(before + place) .. receipt) end
end
for i = 1, new do call('PUBLISH', channel, jsons[i]) end
if fresh_ids > 0 then
  call('PEXPIRE', ids_now, int(3 * in_force))
  -- Eight times in its span is often enough to say that it is used.
  if in_force ~= tonumber(head[12]) or used - (tonumber(head[13]) or 0) >= in_force / 8 then
    call('HSET', head_key, 'dw', int(in_force), 'dt', int(used), 'dp', int(old_window or 0), 'du', int(old_until or 0))
  end
end
return answer(before)
