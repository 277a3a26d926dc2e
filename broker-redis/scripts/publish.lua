#!lua
-- Publishes messages of one channel: deduplicate, write, remember, push.
--
-- KEYS: head, log, and the beginning of the names of the id tables (all with the channel's hash tag). ARGV, after
-- those of `begin.lua`: window (ms), max ids, min replicas; then batches: how many messages, and for each its 16-byte
-- id ('' for one the publisher made), JSON head, JSON tail. A batch without ids of the clients' has its number
-- negative, and no ids. Answers: epoch and its first sequence, log time (ms), and for each message its sequence, or
-- 'sequence:epoch:time' of its first receipt when it is a repeat, or -1 when its batch was refused because no more ids
-- can be remembered. Before these, where a batch has ids: the window in force (ms). Where none has, only the first
-- message's sequence: the others follow it.
--@ tools
--@ date
--@ begin

local ids_key = KEYS[3]
local window, max_ids, min_replicas = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17])
local FIRST_BATCH = 18
if min_replicas > 0 then
  local _, connected = string.gsub(info, 'state=online', '')
  if connected < min_replicas then
    return redis.error_reply('TIDINGS_REPLICAS ' .. connected)
  end
end
if not (may_write and redis.acl_check_cmd('PUBLISH', channel, '') and redis.acl_check_cmd('HSET', ids_key .. '0', '', '')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks PUBLISH, XADD, XTRIM, XRANGE, XINFO, HSET or PEXPIRE for this channel')
end

-- Which messages are new, and which repeat one that is remembered or is before them in this call.
local ids_now, ids_before, old_now, old_before, room
-- The window in force is the largest that was used within its own span: a publisher with a smaller one forgets nothing
-- that another has to remember. After a change, what was remembered under the window before is searched as long as that
-- lasts.
local in_force, used, old_window, old_until = tonumber(head[12]), tonumber(head[13]), tonumber(head[14]), tonumber(head[15])
local function open_tables()
  local is_settled = not old_until or now >= old_until
  if not in_force then
    in_force, used = window, now
  elseif window >= in_force or (now - used > in_force and is_settled) then
    if window ~= in_force then old_window, old_until, is_settled = in_force, now + in_force, false end
    in_force, used = window, now
  end
  local generation = math.floor(now / in_force)
  ids_now, ids_before = ids_key .. int(generation), ids_key .. int(generation - 1)
  local tables = { ids_now, ids_before }
  if not is_settled then
    generation = math.floor(now / old_window)
    old_now, old_before = ids_key .. int(generation), ids_key .. int(generation - 1)
    tables = { ids_now, ids_before, old_now, old_before }
  end
  for _, name in ipairs(tables) do
    local count = redis.pcall('HLEN', name)
    if type(count) == 'table' then return false end
    room = room or max_ids - count
  end
  return true
end

-- A receipt counts while its message is in this history: Redis may have lost the message and not the receipt.
local function holds(receipt)
  local sequence, of, at = string.match(receipt, '^(%d+):(%x+):(%d+)$')
  sequence = tonumber(sequence)
  local oldest, ends, before
  for name, first in string.gmatch(history, '(%x+),(%d+),') do
    oldest = oldest or tonumber(first)
    if before == of then ends = first - 1 end
    if name == of then ends = last end
    before = name
  end
  if oldest and not ends then return sequence < oldest end
  if ends and sequence > ends then return false end
  local entries = redis.pcall('XRANGE', log_key, int(sequence), '+', 'COUNT', 1)
  if entries.err then return false end
  local entry = entries[1]
  -- Without a head only the log shows it.
  if not entry then return oldest end
  local run_last, count = run_id(entry[1])
  if sequence <= run_last - count then return oldest end
  return field(entry, 't') == at
end

local function remembered(id)
  local receipt = call('HGET', ids_now, id) or call('HGET', ids_before, id)
  if not receipt and old_now then receipt = call('HGET', old_now, id) or call('HGET', old_before, id) end
  return receipt and holds(receipt) and receipt
end
-- Of those that are new: JSON heads and tails, and their ids. Of all: the index of a new one among them, or what is
-- answered.
local heads, tails, hashes, is_dated, ids, fresh_ids = {}, {}, nil, false, {}, 0
local results, earlier, has_ids = {}, {}, false
local at, new = FIRST_BATCH, 0
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  at = at + 1
  if count < 0 then
    for _ = 1, -count do
      new = new + 1
      heads[new], tails[new] = ARGV[at], ARGV[at + 1]
      if has_ids then results[#results + 1] = new end
      at = at + 2
    end
  else
    if not has_ids then
      has_ids = true
      for i = 1, new do results[i] = i end
      if not open_tables() then return not_ours('ids') end
    end
    local begin, before, batch_ids, batch_earlier = #results, new, 0, {}
    for _ = 1, count do
      local id, result = ARGV[at], nil
      if id ~= '' then
        result = batch_earlier[id] or earlier[id]
        if result then
          result = { of = result }
        else
          result = remembered(id)
        end
      end
      if not result then
        new = new + 1
        heads[new], tails[new], result = ARGV[at + 1], ARGV[at + 2], new
        if id ~= '' then
          batch_earlier[id] = new
          batch_ids = batch_ids + 1
        end
      end
      results[#results + 1] = result
      at = at + 3
    end
    -- Without ids of its own a batch needs no room, also where the limit was lowered below what is remembered.
    if batch_ids > 0 and batch_ids > room then
      for i = begin + 1, begin + count do results[i] = -1 end
      while new > before do
        heads[new], tails[new] = nil, nil
        new = new - 1
      end
    else
      room = room - batch_ids
      fresh_ids = fresh_ids + batch_ids
      for id, index in pairs(batch_earlier) do
        earlier[id] = index
        ids[index] = id
      end
    end
  end
end

-- `before` is the sequence before the first new message.
local function answer(before)
  -- After the epoch: where it begins, so that a publisher with a receipt can say what of it was given out.
  local named = epoch and epoch .. ',' .. (string.match(new_history, '(%d+),%d+$') or '0') or ''
  if not has_ids then return { named, int(now), before + 1 } end
  local reply = { named, int(now), int(in_force) }
  for i, result in ipairs(results) do
    if type(result) == 'table' then
      -- A repeat of a message of this call.
      result = int(before + result.of) .. ':' .. epoch .. ':' .. int(now)
    elseif type(result) == 'number' and result > 0 then
      result = before + result
    end
    reply[i + 3] = result
  end
  return reply
end

if new == 0 then
  if epoch and is_lost then note_loss() end
  -- WAIT covers the writes of its own connection: give it one, so that the first receipts are covered as well.
  if min_replicas > 0 and epoch then call('HSET', head_key, 'v', own_format) end
  return answer(last)
end

--@ number
--@ append
--@ write
--@ trim
--@ leave

-- The messages are written: remember their ids, push, answer.
if has_ids then
  local receipt = ':' .. epoch .. ':' .. int(now)
  for index, id in pairs(ids) do call('HSET', ids_now, id, int(before + index) .. receipt) end
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
