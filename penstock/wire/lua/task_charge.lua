-- Count a process that died under a task which had it to itself.
-- KEYS: deaths, ended
-- ARGV: seconds to keep the count
-- Answer: how many have died by now; 0: it had ended before
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local deaths = redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return deaths
