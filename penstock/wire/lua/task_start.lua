-- Whether a delivery may start; marks it started in the same step, so that two cannot both.
-- KEYS: record, events, ended, revoked, copy
-- ARGV: the STARTED record without its opening brace ('' = untracked), seconds to keep it,
--       '1' = redelivered, nonce of the copy or '', '1' = replayed, '1' = published by a retry
-- Answer: start, revoked, ended or duplicate
--- include cursor
local body, keep_s, copy = ARGV[1], ARGV[2], ARGV[4]
local known, mark = redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) > 0, false
if known then
--- include state
  if redis.call('EXISTS', KEYS[4]) == 1 then return 'revoked' end
  mark = redis.call('GET', KEYS[3])
  local ended, redelivered = mark or state_of(KEYS[1]), ARGV[3] == '1'
  if FINAL[ended] then
    if ARGV[5] == '1' then
      if redelivered and ended == 'SUCCESS' then return 'ended' end
    elseif redelivered or ARGV[6] == '1' or copy ~= '' then
      return 'ended'
    end
  end
end
if copy ~= '' then
  local nonce = redis.call('GET', KEYS[5])
  if nonce and nonce ~= copy then return 'duplicate' end
  redis.call('SET', KEYS[5], copy, 'EX', COPY_S)
end
if mark then redis.call('DEL', KEYS[3]) end
if body == '' then return 'start' end
if known or string.sub(body, 1, 19) ~= '"status":"STARTED",' then
--- include packed
--- include append
--- include write
  write(body, '', keep_s)
else
  -- Most deliveries: nothing is known of the task. What `write` does, but for the stream.
  local cursor = next_cursor()
  local record = '{"cursor":"' .. cursor .. '","first":"' .. cursor .. '",' .. body
  redis.call('SET', KEYS[1], record, 'EX', keep_s)
  redis.call('PUBLISH', KEYS[1], record)
end
return 'start'
