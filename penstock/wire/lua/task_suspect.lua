-- Whether another process had a redelivered task and did not end it; the first time counts as a
-- death. A task that keeps no state may have been started by any process, or by none: what is known
-- of it is not counted.
-- KEYS: record, deaths
-- ARGV: this process, '1' = tracked, seconds to keep the count, '1' = count a second one, too
-- Answer: 0; 1 = one process died, or this one has had it since; 2 = another one after the first
--- include state
local known = redis.call('EXISTS', KEYS[2]) == 1
if ARGV[2] ~= '1' then
  if not known then redis.call('SET', KEYS[2], 0, 'EX', ARGV[3]) end
  return known and 2 or 1
end
local open = state_of(KEYS[1])
if not known and (open == '' or open == 'RETRY' or FINAL[open]) then return 0 end
local holder = string.match(redis.call('GETRANGE', KEYS[1], 0, 1000), '"process": ?"(%w+)"')
if holder == ARGV[1] then return known and 1 or 0 end
if known and ARGV[4] ~= '1' then return 2 end
local deaths = known and 2 or 1
redis.call('SET', KEYS[2], deaths, 'EX', ARGV[3])
return deaths
