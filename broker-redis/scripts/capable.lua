#!lua flags=no-writes
-- What a server lacks of what we need, in words, or ''. Rights to keys and channels are another matter: they differ
-- from channel to channel.
--
-- ARGV: commands of our scripts, which a user may lack for some channels; 1 where messages are to be received as well.
local lacks = {}
local info = redis.pcall('INFO', 'replication')
local is_reported = type(info) == 'string' and string.find(info, 'role:%w') and string.find(info, 'master_replid:%w')
if not is_reported then lacks[1] = 'it does not report to scripts its role and replication id (INFO replication)' end
if redis.acl_check_cmd then
  for command in string.gmatch(ARGV[1], '%u+') do
    if not pcall(redis.acl_check_cmd, command) then lacks[#lacks + 1] = 'it does not know ' .. command end
  end
  if ARGV[2] == '1' then
    local is_known, may = pcall(redis.acl_check_cmd, 'SUBSCRIBE')
    if not is_known then
      lacks[#lacks + 1] = 'it does not know SUBSCRIBE'
    elseif not may then
      lacks[#lacks + 1] = 'its user may not run SUBSCRIBE'
    end
  end
else
  lacks[#lacks + 1] = 'its scripts can not check rights (redis.acl_check_cmd)'
end
return table.concat(lacks, '; ')
