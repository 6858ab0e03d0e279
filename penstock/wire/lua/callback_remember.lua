-- Keep the callback of a task, within the quota of its tenant.
-- KEYS: record, what the tenant's records take by the day when they are gone, and in all, callbacks of
--       tasks whose workers announce no end
-- ARGV: record, seconds to keep it, today, the day when it is gone, the quota, its name among the
--       latter or '', when it is looked at first; days since 1970
-- Answer: `new`; `again`: the task had one; or, where the quota is used up, the first day on which
--         one is gone
--- include give_back
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
local found, size = redis.call('GET', KEYS[1]), #KEYS[1] + #ARGV[1]
if found then
  give_back(KEYS[1], KEYS[2], found)
elseif total + size > tonumber(ARGV[5]) then
  local first
  for _, day in ipairs(redis.call('HKEYS', KEYS[2])) do
    day = tonumber(day)
    if day and (not first or day < first) then first = day end
  end
  return first or tonumber(ARGV[4])
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[4], size)
redis.call('HINCRBY', KEYS[2], 'total', size)
if redis.call('TTL', KEYS[2]) < tonumber(ARGV[2]) + DAY_S then
  redis.call('EXPIRE', KEYS[2], tonumber(ARGV[2]) + 2 * DAY_S)
end
if ARGV[6] ~= '' then redis.call('ZADD', KEYS[3], ARGV[7], ARGV[6]) end
return found and 'again' or 'new'
