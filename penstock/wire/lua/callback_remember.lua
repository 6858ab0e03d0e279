-- Keep the callback of a task, within the quota of its tenant.
-- KEYS: record, what the tenant's records take by the day when they are gone, and in all
-- ARGV: record, seconds to keep it, today, the day when it is gone, the quota; days since 1970
-- Answer: 1; 0: the quota is used up
local total = tonumber(redis.call('HGET', KEYS[2], 'total')) or 0
if redis.call('HGET', KEYS[2], 'day') ~= ARGV[3] then
  local kept = redis.call('HGETALL', KEYS[2])
  for i = 1, #kept, 2 do
    local day = tonumber(kept[i])
    if day and day < tonumber(ARGV[3]) then
      total = total - tonumber(kept[i + 1])
      redis.call('HDEL', KEYS[2], kept[i])
    end
  end
  redis.call('HSET', KEYS[2], 'day', ARGV[3], 'total', total)
end
local size = #KEYS[1] + #ARGV[1]
if total + size > tonumber(ARGV[5]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[4], size)
redis.call('HINCRBY', KEYS[2], 'total', size)
if redis.call('TTL', KEYS[2]) < tonumber(ARGV[2]) + DAY_S then
  redis.call('EXPIRE', KEYS[2], tonumber(ARGV[2]) + 2 * DAY_S)
end
return 1
