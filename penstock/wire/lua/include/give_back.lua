-- Take the record of a callback off what its tenant keeps, unless that was forgotten with its day.
local function give_back(key, usage, record)
  local read, found = pcall(cjson.decode, record)
  local day = read and type(found) == 'table' and found.gone
  if not day or redis.call('HEXISTS', usage, day) == 0 then return end
  local size = #key + #record
  if redis.call('HINCRBY', usage, day, -size) <= 0 then redis.call('HDEL', usage, day) end
  if redis.call('HINCRBY', usage, 'total', -size) <= 0 then redis.call('DEL', usage) end
end
