-- Charge an end to its tenant: count the octets that it takes, by the time at which they are gone.
-- `marks_gone`: when the mark of the end is gone; one task in sixteen is charged for those of all.
local function charge(usage, gone, marks_gone, body, streamed, keep_s)
  local size, longest = #body + BESIDES, 2 * keep_s + ENDED_EXTRA_S
  if streamed then size = size + redis.call('MEMORY', 'USAGE', KEYS[2], 'SAMPLES', 0) end
  if redis.call('HINCRBY', usage, gone, string.format('%d', size)) == size
     and redis.call('TTL', usage) < longest then
    redis.call('EXPIRE', usage, longest)
  end
  if string.sub(KEYS[1], -1) == '0' then redis.call('HINCRBY', usage, marks_gone, MARKS) end
end
