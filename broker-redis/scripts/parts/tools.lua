-- Numbers, IDs and fields as the log has them.
local call, format = redis.call, string.format

local function int(number)
  -- Lua itself writes 1e14 as 1e+14. All numbers here are whole.
  return format('%d', number)
end

local function run_id(id)
  local last, count = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(last), tonumber(count)
end

local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end
