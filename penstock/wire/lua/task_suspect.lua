-- Whether another process had a redelivered task and did not end it; the first time counts as a
-- death. A task that keeps no state may have been started by any process.
-- KEYS: record, deaths
-- ARGV: this process, '1' = tracked, seconds to keep the count
-- Answer: 1 or 0
--- include state
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
if ARGV[2] ~= '1' then return 1 end
local open = state_of(KEYS[1])
if open == '' or open == 'RETRY' or FINAL[open] then return 0 end
local holder = string.match(redis.call('GETRANGE', KEYS[1], 0, 1000), '"process": ?"(%w+)"')
if holder == ARGV[1] then return 0 end
redis.call('SET', KEYS[2], 1, 'EX', ARGV[3])
return 1
