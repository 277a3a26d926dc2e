-- What `adopt.lua` does when the messages are written: note it, keep the lease or give it up, tell.
redis.call('HSET', head_key, 'a', epoch .. ',' .. int(last))
local asker = lease[1] == token and lease[2] ~= token and lease[2]
redis.call('HSET', lease_key, 'token', asker or token)
redis.call('HDEL', lease_key, 'ask')
redis.call('PEXPIRE', lease_key, lives)
for _, message in ipairs(messages) do redis.call('PUBLISH', notices, message.hash .. message.json) end
return { 'DONE', epoch, int(last), asker and 1 or 0 }
