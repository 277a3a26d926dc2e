-- What the scripts begin with that write without knowing anything beforehand. What they share is no function: closures
-- made a publish of one message 4 % slower.
--
-- `#!lua` before it makes Redis refuse a script whole when it is out of memory or a replica. Scripts do not roll back,
-- so every read and every check comes before the first write, and the first writes are the ones that could still fail.
--
-- KEYS: head, log, and a script's own. ARGV: channel; this call's name, which a new epoch takes over; epoch, last and
--   first sequence of the messages that the caller has receipts for ('', 0 and 0 for none; the first is 0 where it only
--   saw the last as a push); max messages, bytes, age (ms); how long log and head live from now on (ms); run messages,
--   run bytes; the name of the caller's last call ('' where it does not know which was carried out), and log time of
--   the last message that it has a receipt for (ms, 0 where it is not known); then a script's own.
--@ FORMAT FORMAT_UNHELD EPOCHS HEARSAY_RUNS WRITERS NO_END
local head_key, log_key = KEYS[1], KEYS[2]
local channel, candidate, seen_epoch, seen, seen_from = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local max_messages, max_bytes, max_age = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local log_lives, head_lives, run_messages, run_bytes = ARGV[9], ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12])
local own_call, seen_time = ARGV[13], tonumber(ARGV[14])

-- What is there. What is not ours is refused under a name of ours, which says that nothing was written.
local function not_ours(what) return redis.error_reply('TIDINGS_CHANNEL ' .. what .. ' of ' .. channel) end
local head = redis.pcall('HMGET', head_key, 'v', 'e', 's', 't', 'b', 'r', 'h', 'oid', 'ob', 'ot', 'l', 'dw', 'dt', 'dp', 'du', 'w', 'p', 'hd')
local version, epoch, last, time, bytes = head[1], head[2], tonumber(head[3]), tonumber(head[4]), tonumber(head[5])
if head.err then
  if string.find(head.err, 'WRONGTYPE', 1, true) then return not_ours('head') end
  return redis.error_reply(head.err)
end
if version and (tonumber(version) or FORMAT + 1) > FORMAT then
  return redis.error_reply('TIDINGS_FORMAT ' .. version .. ' of ' .. channel)
end
-- What is relied on after the first write.
if epoch and not (last and time and bytes and last >= 0 and run_id(head[8] or '') and tonumber(head[9]) and tonumber(head[10])) then
  return not_ours('head')
end
local info = redis.pcall('INFO', 'replication')
local replication = type(info) == 'string' and string.match(info, 'master_replid:(%w+)')
if not replication then return redis.error_reply('TIDINGS_SERVER it does not report its replication id') end
local may_write = redis.acl_check_cmd('XADD', log_key, '*', 'm', '') and redis.acl_check_cmd('HSET', head_key, 'v', '')
  and redis.acl_check_cmd('XTRIM', log_key, 'MINID', '0') and redis.acl_check_cmd('PEXPIRE', head_key, '1')
  and redis.acl_check_cmd('XINFO', 'STREAM', log_key) and redis.acl_check_cmd('XRANGE', log_key, '-', '+')

-- The end of the log where the head is gone, or does not know of it.
local function log_end()
  local info = redis.pcall('XINFO', 'STREAM', log_key)
  if info.err then return nil end
  local named = {}
  for i = 1, #info, 2 do named[info[i]] = info[i + 1] end
  local entry = named['last-entry']
  local generated = run_id(named['last-generated-id'])
  if not entry then return generated, 0, 0 end
  return generated, tonumber(field(entry, 't') or ''), tonumber(field(entry, 'b') or '')
end

if not epoch then
  last, time, bytes = log_end()
  if last and not (time and bytes) then return not_ours('log') end
  last, time, bytes = last or 0, time or 0, bytes or 0
end
-- What subscriptions hold. A head that is new does not know of those that were there before it, and all that is
-- published from now on is ahead of them. Who may not see them publishes all the same.
local hold = head[18]
if not epoch then
  local holds = redis.pcall('HVALS', string.sub(head_key, 1, -5) .. 'subs')
  if holds.err then holds = {} end
  --@ held_together
  if held_from then hold = int(math.min(held_from, last + 1)) .. ',' .. int(held_age) .. ',' .. int(held_bytes) end
end
-- Earlier versions know of no holds, and must not trim what is held.
local own_format = hold and FORMAT or FORMAT_UNHELD
-- Log time: never below that of the last message.
local clock = call('TIME')
local now = math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), time)

-- Who wrote before the last call, each by its own last one: 'name,last;…'. It is preceded by the beginning of the name
-- of the call that left it, which optimistic calls keep, so that what a program leaves that keeps no such list is
-- seen; and the sequence after which it is whole.
local writer = epoch and head[16]
local keeper, whole_after, writers = string.match(head[17] or '', '^(%x+):(%d+):(.*)$')
whole_after = tonumber(whole_after)
if not writer or keeper ~= string.sub(writer, 1, 8) then whole_after, writers = last, '' end
local is_here = own_call ~= '' and own_call == writer
if not is_here then
  if own_call ~= '' then
    local others, found = string.gsub(writers, own_call .. ',%d+;', '')
    writers, is_here = others, found > 0
  end
  if writer then
    writers = writers .. writer .. ',' .. int(last) .. ';'
    local _, count = string.gsub(writers, ';', '')
    if count > WRITERS then
      local oldest_last, others = string.match(writers, '^%x+,(%d+);(.*)$')
      whole_after, writers = math.max(whole_after, tonumber(oldest_last)), others
    end
  end
end
local new_writers = string.sub(candidate, 1, 8) .. ':' .. int(whole_after) .. ':' .. writers

-- What was given out and is not in this history. Of the head's own epoch: up to `own_end`, which is `last` where
-- nothing is missing. Of another one, or within: `lost_epoch`, from `lost_from` to `lost_to`.
local old_epoch, history, losses = epoch, head[7] or '', head[11] or ''
local own_end, lost_epoch, lost_from, lost_to = last, nil, 0, seen
-- What was only seen as a push may be forged, and must not lead far away.
local most = seen_from > 0 and math.huge or HEARSAY_RUNS * run_messages
-- How far this history has the epoch.
local there = seen_epoch == epoch and last or seen
if seen_epoch ~= '' and (seen_epoch ~= epoch or seen > last) then
  if seen_epoch == epoch then
    if seen - last <= most then own_end = seen end
  elseif not epoch then
    if seen > last and seen - last <= most then lost_epoch, lost_from = seen_epoch, math.max(seen_from, last + 1) end
  else
    -- Up to where this history knows of the epoch: what it has of it, or says is lost.
    local known, oldest, before
    for name, first, previous_end in string.gmatch(history, '(%x+),(%d+),(%d+)') do
      oldest = oldest or tonumber(first)
      if before == seen_epoch then
        there = first - 1
        known = math.max(there, tonumber(previous_end))
      end
      before = name
    end
    for name, to in string.gmatch(losses, '%x+,(%x+),%d+,(%d+)') do
      if name == seen_epoch then known = math.max(known or 0, tonumber(to)) end
    end
    -- What is older than the list is believed to have been whole.
    known = known or (oldest or 1) - 1
    if seen > known and seen - known <= most then lost_epoch, lost_from = seen_epoch, math.max(seen_from, known + 1) end
  end
end

-- A history that went back and was written on at once has other messages at the caller's positions. Where the caller's
-- last call is not among those that wrote here, the log decides: time never steps back in it, so what is newer than the
-- caller's last message was not there before that. Answers from where on.
local function rewritten_from()
  local top, low = math.min(seen, there), math.max(seen_from, 1)
  if top < low then return nil end
  local function at(sequence)
    local entries = redis.pcall('XRANGE', log_key, int(sequence), '+', 'COUNT', 1)
    local entry = not entries.err and entries[1]
    if not entry then return nil end
    local run_last, count = run_id(entry[1])
    return run_last and run_last - count < sequence and tonumber(field(entry, 't') or ''), run_last
  end
  local time_there = at(top)
  -- Where all that wrote since are known, the caller is not one of them, whatever the log shows, or keeps.
  local is_sure = own_call ~= '' and seen > whole_after and top == seen
  if not time_there then return is_sure and low or nil end
  if time_there <= seen_time then return (is_sure or time_there < seen_time and top == seen) and low or nil end
  while low < top do
    local middle = math.floor((low + top) / 2)
    local time_then, run_last = at(middle)
    if time_then and time_then <= seen_time then low = run_last + 1 else top = middle end
  end
  return low
end
if seen_time > 0 and epoch and not is_here then
  local from = rewritten_from()
  local to = seen_epoch == epoch and math.min(seen, there) or seen
  for name, known_from, known_to in string.gmatch(losses, '%x+,(%x+),(%d+),(%d+)') do
    if from and name == seen_epoch and tonumber(known_from) <= from and tonumber(known_to) >= to then from = nil end
  end
  if from then
    lost_epoch, lost_from, lost_to = seen_epoch, lost_epoch and math.min(lost_from, from) or from, to
  end
end
local is_lost = own_end > last or lost_epoch
local new_history, new_losses = history, losses

-- Begins an epoch after what there is, whose start names what was lost.
local function begin_epoch()
  epoch = candidate
  local starts, lost = {}, {}
  for start in string.gmatch(history, '[^;]+') do starts[#starts + 1] = start end
  for loss in string.gmatch(losses, '[^;]+') do lost[#lost + 1] = loss end
  local name, first, previous_end = string.match(starts[#starts] or '', '(%x+),(%d+),(%d+)')
  local beyond = own_end
  if name and tonumber(first) > last then
    -- An epoch without a message makes way, and hands over what it names.
    starts[#starts], beyond = nil, tonumber(previous_end)
    -- Where messages of it were given out after all, it is they that are lost.
    if own_end > last and seen_epoch == name then
      lost_epoch, lost_from, lost_to = name, math.max(seen_from, tonumber(first)), seen
    end
    for i = 1, #lost do lost[i] = string.gsub(lost[i], '^' .. name, epoch) end
  end
  starts[#starts + 1] = epoch .. ',' .. int(last + 1) .. ',' .. int(beyond)
  if lost_epoch then lost[#lost + 1] = epoch .. ',' .. lost_epoch .. ',' .. int(lost_from) .. ',' .. int(lost_to) end
  -- The oldest make way. While the log has messages from before them, readers may come by that were not there when
  -- they began: what was lost then is named where the list begins from now on.
  local run_last, count = run_id(head[8] or '')
  local log_first = run_last and count > 0 and run_last - count + 1 or last + 1
  while #starts > EPOCHS do
    local gone, gone_first = string.match(table.remove(starts, 1), '(%x+),(%d+)')
    local oldest, oldest_first, previous_end = string.match(starts[1], '(%x+),(%d+),(%d+)')
    local named = {}
    for _, loss in ipairs(lost) do
      local began, what = string.match(loss, '^(%x+)(,.*)$')
      if began ~= gone then
        named[#named + 1] = loss
      elseif log_first < tonumber(gone_first) then
        named[#named + 1] = oldest .. what
      end
    end
    -- In which epoch that was lost is known only now.
    if tonumber(previous_end) >= tonumber(oldest_first) and log_first < tonumber(oldest_first) then
      table.insert(named, 1, oldest .. ',' .. gone .. ',' .. oldest_first .. ',' .. previous_end)
      starts[1] = oldest .. ',' .. oldest_first .. ',' .. int(oldest_first - 1)
    end
    lost = named
  end
  -- Of what is not named any more it is only known that there was something: the next has no end that anyone knows.
  while #lost > EPOCHS do
    table.remove(lost, 1)
    lost[1] = string.gsub(lost[1], '%d+$', int(NO_END))
  end
  new_history, new_losses = table.concat(starts, ';'), table.concat(lost, ';')
end

-- Where nothing is written besides: an epoch without a message. Optimistic calls find another call's name.
local function note_loss()
  begin_epoch()
  call('HSET', head_key, 'v', own_format, 'e', epoch, 'r', replication, 'h', new_history, 'l', new_losses, 'w', candidate, 'p', new_writers)
end
