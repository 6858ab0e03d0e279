-- End one's own claim of an idempotency key.
-- KEYS: the record, what the tenant's records take by the hour
-- ARGV: owner, the new record or '' to free the key, the hour
-- Answer: 1; 0: the claim is another's by now
local found = redis.call('GET', KEYS[1])
if not found or cjson.decode(found).owner ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('HINCRBY', KEYS[2], ARGV[3], -#KEYS[1] - #found)
  return redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
redis.call('HINCRBY', KEYS[2], ARGV[3], #ARGV[2] - #found)
return 1
