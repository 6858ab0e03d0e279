-- Whether a delivery may start; marks it started in the same step, so that two cannot both.
-- KEYS: record, events, ended, revoked, copy
-- ARGV: the STARTED record without its opening brace ('' = untracked), seconds to keep it,
--       '1' = redelivered, nonce of the copy or '', '1' = replayed, '1' = published by a retry
-- Answer: start, revoked, ended or duplicate
--- include state
--- include write
local body, redelivered, copy = ARGV[1], ARGV[3] == '1', ARGV[4]
local replay, retried = ARGV[5] == '1', ARGV[6] == '1'
if redis.call('EXISTS', KEYS[4]) == 1 then return 'revoked' end
local mark = redis.call('GET', KEYS[3])
local ended = mark or state_of(KEYS[1])
if FINAL[ended] then
  if replay then
    if redelivered and ended == 'SUCCESS' then return 'ended' end
  elseif redelivered or retried or copy ~= '' then
    return 'ended'
  end
end
if copy ~= '' then
  local nonce = redis.call('GET', KEYS[5])
  if nonce and nonce ~= copy then return 'duplicate' end
  redis.call('SET', KEYS[5], copy, 'EX', COPY_S)
end
if mark then redis.call('DEL', KEYS[3]) end
if body ~= '' then write(body, '', tonumber(ARGV[2])) end
return 'start'
