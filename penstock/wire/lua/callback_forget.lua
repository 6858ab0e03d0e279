-- Forget the callback of a task whose end is announced, or that was not published: its tenant has the room again.
-- KEYS: record, what the tenant's records take by the day when they are gone, and in all, callbacks of
--       tasks whose workers announce no end
-- ARGV: its name among the latter, or ''
-- Answer: 1; 0: it was forgotten before
--- include give_back
redis.call('ZREM', KEYS[3], ARGV[1])
local found = redis.call('GET', KEYS[1])
if not found then return 0 end
give_back(KEYS[1], KEYS[2], found)
return redis.call('DEL', KEYS[1])
