-- The channel's epoch and last sequence. The code before it has the locals `call`, `head_key` and `channel`. It leaves
-- `end_epoch` ('' for none), `end_last`, and the same as a number, `last`.
--@ FORMAT
local head = call('HMGET', head_key, 'e', 's', 'v')
local end_epoch, end_last = head[1] or '', head[2]
if head[3] and (tonumber(head[3]) or FORMAT + 1) > FORMAT then
  return redis.error_reply('TIDINGS_FORMAT ' .. head[3] .. ' of ' .. channel)
end
if not end_last then
  -- The log goes on counting where the head is gone.
  local log_of_head = string.sub(head_key, 1, -5) .. 'log'
  end_epoch, end_last = '', '0'
  if call('EXISTS', log_of_head) == 1 then
    local info = call('XINFO', 'STREAM', log_of_head)
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then end_last = string.match(info[i + 1], '^%d+') end
    end
  end
end
local last = tonumber(end_last)
if not last then return redis.error_reply('TIDINGS_CHANNEL head of ' .. channel) end
