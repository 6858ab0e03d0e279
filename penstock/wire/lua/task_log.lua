-- One line of output of a running task.
-- KEYS: record (the channel), events, ended
-- ARGV: event, notice without its opening brace, seconds to keep
-- Answer: 1; 0: it had ended before, nothing was written
--- include packed
--- include append
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
if redis.call('EXISTS', KEYS[2]) == 0 then
  local record = unpack_record()
  if record then redis.call('SET', KEYS[1], record, 'KEEPTTL') end
end
local cursor = append(ARGV[1], tonumber(ARGV[3]))
redis.call('PUBLISH', KEYS[1], '{"cursor":"' .. cursor .. '",' .. ARGV[2])
return 1
