#!lua flags=no-writes
-- What a server lacks of what we need, in words, or ''. Rights to keys and channels are another matter: they differ
-- from channel to channel. So do those to write, which scripts check before they do.
--
-- ARGV: commands of our scripts, which the server must know; commands that the user must have as well, of which SET
-- must not be one. Both with a subcommand where there are any.
local lacks = {}
local info = redis.pcall('INFO', 'replication')
local is_reported = type(info) == 'string' and string.find(info, 'role:%w') and string.find(info, 'master_replid:%w')
if not is_reported then lacks[1] = 'it does not report to scripts its role and replication id (INFO replication)' end
if redis.acl_check_cmd then
  for command, part in string.gmatch(ARGV[1], '(%u+)|?(%u*)') do
    -- With arguments: where a user has some keys only, servers look for SET's without counting (Valkey 9.1 crashes).
    if not pcall(redis.acl_check_cmd, command, part == '' and 'x' or part, 'x') then
      lacks[#lacks + 1] = 'it does not know ' .. command
    end
  end
  for command, part in string.gmatch(ARGV[2], '(%u+)|?(%u*)') do
    local is_known, may = pcall(redis.acl_check_cmd, unpack(part == '' and { command } or { command, part }))
    if not is_known and not string.find(ARGV[1], command, 1, true) then
      lacks[#lacks + 1] = 'it does not know ' .. command
    elseif is_known and not may then
      lacks[#lacks + 1] = 'its user may not run ' .. command
    end
  end
else
  lacks[#lacks + 1] = 'its scripts can not check rights (redis.acl_check_cmd)'
end
return table.concat(lacks, '; ')
