-- Delete the entry of a schedule. A full Redis takes no command in a transaction, not even DEL.
-- KEYS: entry, schedule
-- Answer: 1; 0: it was deleted before
redis.call('ZREM', KEYS[2], KEYS[1])
local existed = redis.call('HEXISTS', KEYS[1], 'definition')
redis.call('DEL', KEYS[1])
return existed
