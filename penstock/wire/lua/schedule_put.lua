-- Make or change the entry of a schedule. Its count is kept; a run noted meanwhile may show as not
-- the last. It counts from now unless its times stay, it is as it was read, and it is due: one that
-- was suspended or deleted since it was read would never run again.
-- KEYS: entry, schedule
-- ARGV: definition, when it is due, now as RedBeat writes it, its last run so far, its owner,
--       the owner who must still be it or '', the definition that was read or '' when its times
--       change
-- Answer: 1 when it existed, 0 when it is new, -1 when its owner is another: nothing was written
local definition, owner = unpack(redis.call('HMGET', KEYS[1], 'definition', 'owner'))
if ARGV[6] ~= '' and owner ~= ARGV[6] then return -1 end
local existed = definition and 1 or 0
redis.call('HSET', KEYS[1], 'definition', ARGV[1], 'owner', ARGV[5])
redis.call('HDEL', KEYS[1], 'unpublished')
local score = redis.call('ZSCORE', KEYS[2], KEYS[1])
if definition == ARGV[7] and score and tonumber(score) >= 0 then return existed end
local runs, found = 0, redis.call('HGET', KEYS[1], 'meta')
local sound, meta = pcall(cjson.decode, found or '{}')
if sound and type(meta) == 'table' then runs = tonumber(meta.total_run_count) or 0 end
local ran_at = definition and ARGV[4] or 'null'
redis.call('HSET', KEYS[1],
  'penstock', '{"changed_at":' .. ARGV[3] .. ',"ran_at":' .. ran_at .. '}',
  'meta', string.format('{"last_run_at":%s,"total_run_count":%d}', ARGV[3], runs))
redis.call('ZADD', KEYS[2], ARGV[2], KEYS[1])
return existed
