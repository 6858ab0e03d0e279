-- Make or change the entry of a schedule. Its count is kept; a run noted meanwhile may show as not
-- the last.
-- KEYS: entry, schedule
-- ARGV: definition, when it is due or '', now as RedBeat writes it or '' when its times stay,
--       its last run so far, its owner, the owner who must still be it or ''
-- Answer: 1 when it existed, 0 when it is new, -1 when its owner is another: nothing was written
if ARGV[6] ~= '' and redis.call('HGET', KEYS[1], 'owner') ~= ARGV[6] then return -1 end
local existed = redis.call('HEXISTS', KEYS[1], 'definition')
redis.call('HSET', KEYS[1], 'definition', ARGV[1], 'owner', ARGV[5])
if ARGV[3] ~= '' then
  local runs, found = 0, redis.call('HGET', KEYS[1], 'meta')
  local sound, meta = pcall(cjson.decode, found or '{}')
  if sound and type(meta) == 'table' then runs = tonumber(meta.total_run_count) or 0 end
  redis.call('HSET', KEYS[1],
    'penstock', '{"changed_at":' .. ARGV[3] .. ',"ran_at":' .. ARGV[4] .. '}',
    'meta', string.format('{"last_run_at":%s,"total_run_count":%d}', ARGV[3], runs))
end
if ARGV[2] ~= '' then redis.call('ZADD', KEYS[2], ARGV[2], KEYS[1]) end
return existed
