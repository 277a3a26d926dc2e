#!lua
-- Reports messages that were given out, where this history does not have them and does not know of it: an epoch begins
-- whose start names them. What `begin` gets as the caller's last messages is what is reported.
--
-- KEYS: head, log. ARGV, after those of `begin.lua`: 1 where it is of the caller's present epoch. Answers 1 where an
-- epoch began, otherwise 0: nothing is missing, or there is no head, for which the next publish has to bring its
-- receipts along.
--@ tools
--@ begin

if not (epoch and is_lost) then return 0 end
if not may_write then
  return redis.error_reply('NOPERM this Redis user lacks XADD, XTRIM, XRANGE, XINFO, HSET or PEXPIRE for this channel')
end
-- An earlier epoch's replaces no other loss: the publisher that named that would have to do it again.
if ARGV[15] ~= '1' and seen_from > 0 and select(2, string.gsub(losses, ';', '')) >= EPOCHS - 1 then return 0 end
note_loss()
return 1
