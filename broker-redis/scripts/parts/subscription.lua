-- What the scripts of one subscription begin with. All keys are read before anything is written, so that a key of
-- another type, or one that may not be read, is found before that.
--
-- KEYS: books, head, log; what is out, what waits by time, the same and what is parked in its order, attempts, JSON
--   that is kept, dead letters by time, the letters; the channel's subscriptions; the outbox; ordering keys, what is
--   parked behind them. ARGV: the channel, then a script's own.
--@ SUBSCRIPTION_FORMAT
local call = redis.call
local books_key, head_key, log_key, out_key, wait_key, order_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local tries_key, kept_key, dead_key, letters_key, subs_key = KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local outbox_key, keys_key, parked_key = KEYS[12], KEYS[13], KEYS[14]
local channel = ARGV[1]
local function int(number) return string.format('%d', number) end
local function damaged(what) return redis.error_reply('TIDINGS_CHANNEL ' .. what .. ' of ' .. channel) end

local books = call('HMGET', books_key, 'v', 'g', 'n', 'pe', 'o', 'r', 'set', 'c', 'u', 'x', 'db', 'sk', 'cc')
local is_there, generation, next = books[1] or books[2], books[2], tonumber(books[3])
if is_there then
  if (books[1] or SUBSCRIPTION_FORMAT) ~= SUBSCRIPTION_FORMAT then
    return redis.error_reply('TIDINGS_FORMAT ' .. books[1] .. ' of ' .. channel)
  end
  for i = 1, 11 do
    if not books[i] then return damaged('subscription') end
  end
  if not (next and tonumber(books[5]) and tonumber(books[10]) and tonumber(books[11])) then
    return damaged('subscription')
  end
end
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
