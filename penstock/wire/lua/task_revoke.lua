-- Revoke a task unless it ended; one that runs goes on, but never starts again.
-- KEYS: record, events, ended, revoked; what its tenant's results take, if it has a tenant
-- ARGV: the REVOKED record without its opening brace ('' = untracked), seconds to keep it,
--       seconds to keep the mark, what it holds (1 by default): who repeats its own revocation is
--       known by that, and gets the same answer; with the fifth key: when the record is gone, when
--       the mark of the end is
-- Answer: {ended, running or revoked; its state}
--- include state
--- include running
--- include cursor
--- include packed
--- include append
--- include write
--- include charge
local by = ARGV[4] or '1'
local state = redis.call('GET', KEYS[3]) or state_of(KEYS[1])
if FINAL[state] then
  -- A write, so that who waits for copies of this answer waits for those of what it repeats.
  redis.call('EXPIRE', KEYS[4], tonumber(ARGV[3]))
  if state == 'REVOKED' and by ~= '1' and redis.call('GET', KEYS[4]) == by then
    return {'revoked', state}
  end
  return {'ended', state}
end
redis.call('SET', KEYS[4], by, 'EX', tonumber(ARGV[3]))
if running(state) then return {'running', state} end
if ARGV[1] ~= '' then
  local streamed = write(ARGV[1], '', tonumber(ARGV[2]))
  mark_ended('REVOKED', tonumber(ARGV[2]))
  if KEYS[5] then charge(KEYS[5], ARGV[5], ARGV[6], ARGV[1], streamed, tonumber(ARGV[2])) end
--- include noted
end
return {'revoked', 'REVOKED'}
