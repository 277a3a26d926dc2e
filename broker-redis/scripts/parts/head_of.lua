-- Reads the head of a channel.
--
-- Answers: role, format version, last sequence, log time (ms), the list of epochs ('epoch,first,previous end;…'), first
-- sequence retained (0 when none is), whether there is a log at all, the last adopted message ('epoch,sequence', '' for
-- none), losses that were found out late ('epoch that began,epoch,from,to;…'), and the data set ('' where it has no
-- name yet).
local function head_of(head_key, log_key, data_set_key)
  local head = redis.call('HMGET', head_key, 'v', 's', 't', 'h', 'a', 'l')
  local role = string.match(redis.call('INFO', 'replication'), 'role:(%w+)')
  local first, has_log, last, time = '0', 0, head[2] or '0', head[3] or '0'
  local entry = redis.call('XRANGE', log_key, '-', '+', 'COUNT', 1)[1]
  if entry then
    local run_last, count = string.match(entry[1], '^(%d+)-(%d+)$')
    first, has_log = string.format('%.0f', run_last - count + 1), 1
  end
  if not head[2] and redis.call('EXISTS', log_key) == 1 then
    local info = redis.call('XINFO', 'STREAM', log_key)
    has_log = 1
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then last = string.match(info[i + 1], '^(%d+)') end
      -- The first field of a run is its log time.
      if info[i] == 'last-entry' and info[i + 1] then time = info[i + 1][2][2] end
    end
  end
  return { role, head[1] or '', last, time, head[4] or '', first, has_log, head[5] or '', head[6] or '',
    redis.call('GET', data_set_key) or '' }
end
