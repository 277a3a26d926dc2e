-- What `prepared.lua` does when the messages are written.
for i = 1, new do call('PUBLISH', channel, jsons[i]) end
return clock[1] * 1000 + math.floor(clock[2] / 1000)
