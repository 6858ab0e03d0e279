-- Tasks that a gateway has published, for history, where there is any: its stream exists.
-- KEYS: stream of accepted tasks, string that says of which tasks arguments are kept
-- ARGV: JSON arrays of tasks
-- Answer: {1, or 0 = there is no history; which arguments are kept, or ''}
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, ''} end
for _, tasks in ipairs(ARGV) do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', HISTORY_ACCEPTED_LENGTH, '*', 'a', tasks)
end
return {1, redis.call('GET', KEYS[2]) or ''}
