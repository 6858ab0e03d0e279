-- Take the callbacks whose tasks are due to be looked at, so that no other process looks at them, too.
-- KEYS: callbacks of tasks whose workers announce no end, by the time of the next look
-- ARGV: now, the time of the next look where nobody says another, most of them; unix seconds
-- Answer: the callbacks
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, callback in ipairs(due) do redis.call('ZADD', KEYS[1], ARGV[2], callback) end
return due
