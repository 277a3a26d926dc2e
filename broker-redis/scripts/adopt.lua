#!lua
-- Adopts messages that plain programs published on a channel: compare, write, notify. Plain subscribers have
-- seen them already, so what is pushed is a *notice*, on a channel that only the service listens to.
--
-- Two fences. What the caller takes for the last adopted message must be the head's: a replica that has missed an
-- adoption might adopt the same message again. And the lease is one replica's at a time, so that only one does the
-- work; it is taken where it is free, and given up to a replica that asks for it.
--
-- KEYS: head, log, lease. ARGV, after those of `begin.lua`: the channel of notices, the caller's token, 1 to ask for
--   the lease where it is another's, how long a lease lives (ms), the last adopted message as 'epoch,sequence' ('' for
--   none); then for each message the 16-byte hash of what was published, JSON head (with its date), JSON tail. Answers:
--   'DONE', epoch and sequence of the last message, and 1 where the lease was given up; 'BEHIND'; or 'OTHER' and the
--   time that is left of another's lease (ms).
--@ tools
--@ date
--@ begin

local lease_key = KEYS[3]
local notices, token, ask, lives, adopted = ARGV[15], ARGV[16], ARGV[17] == '1', ARGV[18], ARGV[19]
local FIRST_MESSAGE = 20
if not (may_write and redis.acl_check_cmd('PUBLISH', notices, '') and redis.acl_check_cmd('HSET', lease_key, 'token', '')
    and redis.acl_check_cmd('HDEL', lease_key, 'ask') and redis.acl_check_cmd('PEXPIRE', lease_key, '1')) then
  return redis.error_reply(
    'NOPERM this Redis user lacks PUBLISH, XADD, XTRIM, XRANGE, XINFO, HSET, HDEL or PEXPIRE to capture this channel')
end
local lease = call('HMGET', lease_key, 'token', 'ask')
local left = call('PTTL', lease_key)
if lease[1] and lease[1] ~= token and left > 0 then
  if ask then call('HSET', lease_key, 'ask', token) end
  return { 'OTHER', left }
end
if (call('HGET', head_key, 'a') or '') ~= adopted then return { 'BEHIND' } end

local heads, tails, hashes, is_dated = {}, {}, {}, true
local new = 0
for at = FIRST_MESSAGE, #ARGV, 3 do
  new = new + 1
  hashes[new], heads[new], tails[new] = ARGV[at], ARGV[at + 1], ARGV[at + 2]
end

--@ number
--@ append
--@ write
--@ trim
--@ leave

-- The messages are written: note it, keep the lease or give it up, notify.
call('HSET', head_key, 'a', epoch .. ',' .. int(last))
local asker = lease[1] == token and lease[2] ~= token and lease[2]
call('HSET', lease_key, 'token', asker or token)
call('HDEL', lease_key, 'ask')
call('PEXPIRE', lease_key, lives)
for i = 1, new do call('PUBLISH', notices, hashes[i] .. jsons[i]) end
return { 'DONE', epoch, int(last), asker and 1 or 0 }
