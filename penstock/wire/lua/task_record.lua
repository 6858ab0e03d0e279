-- One change of state, by the worker that executes the task.
-- KEYS: record, events, ended, revoked, of an end what its tenant's results take
-- ARGV: the record without its opening brace, event ('' = the record), state when it is final or '',
--       seconds to keep, '1' to take started_at from the record there is, seconds to keep the revoke
--       mark or '0', with the fifth key: when it is gone, '1' to measure the events
-- Answer: 1; 0: it had ended before, nothing was written
--- include write
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local body, keep_s = ARGV[1], tonumber(ARGV[4])
if ARGV[5] == '1' then
  local head = redis.call('GETRANGE', KEYS[1], 0, 1000)
  local started = string.match(head, '"started_at": ?"([%d:TZ.+-]+)"')
  if started then body = '"started_at":"' .. started .. '",' .. body end
end
write(body, ARGV[2], keep_s)
if ARGV[3] ~= '' then mark_ended(ARGV[3], keep_s) end
if ARGV[6] ~= '0' then redis.call('SET', KEYS[4], '1', 'EX', tonumber(ARGV[6])) end
if KEYS[5] then
  local events = USUAL_EVENTS
  if ARGV[8] == '1' then events = redis.call('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', 0) end
  local size = #body + BESIDES + events
  if redis.call('HINCRBY', KEYS[5], ARGV[7], size) == size then
    redis.call('EXPIRE', KEYS[5], 2 * keep_s + ENDED_EXTRA_S)
  end
end
return 1
