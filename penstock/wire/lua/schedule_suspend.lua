-- Keep beat from running a schedule.
-- KEYS: entry, schedule
-- ARGV: its owner, the owner who must still be it, the score
-- Answer: 1; 0: its owner is another
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[3], KEYS[1])
return 1
