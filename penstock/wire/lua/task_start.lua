-- Whether a delivery may start; marks it started in the same step, so that two cannot both.
-- KEYS: record, events, ended, revoked, copy
-- ARGV: the STARTED record without its opening brace ('' = untracked), seconds to keep it,
--       letters: d = redelivered, t = published by a retry, p = replayed; the nonce of a copy, or '';
--       the queue that it came from, where a pause of that holds it back
-- Answer: start, revoked, ended, duplicate or paused
--- include cursor
local body, keep_s, again, copy, queue = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if queue and redis.call('HEXISTS', PAUSED_KEY, queue) == 1 then return 'paused' end
if copy == '' then copy = nil end
local known, mark = redis.call('EXISTS', unpack(KEYS)) > 0, false
if known then
--- include state
  if redis.call('EXISTS', KEYS[4]) == 1 then return 'revoked' end
  mark = redis.call('GET', KEYS[3])
  local ended = mark or state_of(KEYS[1])
  if FINAL[ended] then
    if string.find(again, 'p', 1, true) then
      if ended == 'SUCCESS' and string.find(again, 'd', 1, true) then return 'ended' end
    elseif again ~= '' or copy then
      return 'ended'
    end
  end
end
if copy then
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
--- include noted
return 'start'
