-- What `adopt.lua` does when the messages are written: note it, keep the lease or give it up, tell.
call('HSET', head_key, 'a', epoch .. ',' .. int(last))
local asker = lease[1] == token and lease[2] ~= token and lease[2]
call('HSET', lease_key, 'token', asker or token)
call('HDEL', lease_key, 'ask')
call('PEXPIRE', lease_key, lives)
for i = 1, new do call('PUBLISH', notices, hashes[i] .. jsons[i]) end
return { 'DONE', epoch, int(last), asker and 1 or 0 }
