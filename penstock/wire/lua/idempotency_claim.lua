-- Take an idempotency key if it is free.
-- KEYS: the record, what the tenant's records take by the hour
-- ARGV: record, fingerprint, now, seconds that a claim is in flight, owner, seconds to keep,
--       the hour, the tenant's quota of octets
-- Answer: the record as it is afterwards, the caller's when its owner is; or, where the quota is
--         used up, the first hour of which records are kept
local found = redis.call('GET', KEYS[1])
if found then
  local record = cjson.decode(found)
  if record.fingerprint ~= ARGV[2] or record.state == 'done'
     or (record.state == 'in-flight' and tonumber(ARGV[3]) - record.at < tonumber(ARGV[4])) then
    return found
  end
  record.state = 'in-flight'
  record.owner = ARGV[5]
  record.at = tonumber(ARGV[3])
  redis.call('SET', KEYS[1], cjson.encode(record), 'KEEPTTL')
  return cjson.encode(record)
end
local now, size, used, oldest = tonumber(ARGV[7]), #KEYS[1] + #ARGV[1], 0, tonumber(ARGV[7])
local kept = redis.call('HGETALL', KEYS[2])
for i = 1, #kept, 2 do
  local hour = tonumber(kept[i]) or 0
  if hour < now - 24 then
    redis.call('HDEL', KEYS[2], kept[i])
  else
    used, oldest = used + (tonumber(kept[i + 1]) or 0), math.min(oldest, hour)
  end
end
if used + size > tonumber(ARGV[8]) then return oldest end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[6])
redis.call('HINCRBY', KEYS[2], ARGV[7], size)
redis.call('EXPIRE', KEYS[2], 26 * 3600)
return ARGV[1]
