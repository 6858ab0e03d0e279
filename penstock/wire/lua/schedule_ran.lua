-- Note a run of a schedule, and when the next is due.
-- An entry that was deleted meanwhile stays so; in one whose times were changed, which counts from
-- the change, only the count goes up; one that was suspended stays so. Who writes a definition or a
-- meta writes the score, too: after a change it is that one's.
-- KEYS: entry, schedule
-- ARGV: definition and meta that were read, meta to write ('' = only the score), score, why it could
--       not be published ('' = it was, or was not tried)
-- Answer: 0 deleted, 1 changed or suspended meanwhile, 2 planned
local definition = redis.call('HGET', KEYS[1], 'definition')
if not definition then return 0 end
local meta = redis.call('HGET', KEYS[1], 'meta')
if ARGV[3] ~= '' and (meta or '') == ARGV[2] then
  redis.call('HSET', KEYS[1], 'meta', ARGV[3])
elseif ARGV[3] ~= '' then
  local counted, ran = cjson.decode(meta), cjson.decode(ARGV[3])
  counted.total_run_count = (tonumber(counted.total_run_count) or 0) + 1
  redis.call('HSET', KEYS[1], 'meta', cjson.encode(counted))
  local change = redis.call('HGET', KEYS[1], 'penstock')
  if change then
    change = cjson.decode(change)
    change.ran_at = ran.last_run_at
    redis.call('HSET', KEYS[1], 'penstock', cjson.encode(change))
  end
  return 1
elseif (meta or '') ~= ARGV[2] then
  return 1
end
if definition ~= ARGV[1] then return 1 end
if tonumber(redis.call('ZSCORE', KEYS[2], KEYS[1]) or 0) < 0 then return 1 end
if ARGV[5] == '' then
  redis.call('HDEL', KEYS[1], 'unpublished')
else
  redis.call('HSET', KEYS[1], 'unpublished', ARGV[5])
end
redis.call('ZADD', KEYS[2], ARGV[4], KEYS[1])
return 2
