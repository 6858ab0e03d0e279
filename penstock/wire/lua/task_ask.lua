-- Revoke a task that others may take: workers of ours will not start it, others are asked, and an
-- end is recorded by who drops it.
-- KEYS: record, ended, revoked
-- ARGV: seconds to keep the mark
-- Answer: {ended, running or, where it is not known whether it will start, asked; its state}
--- include state
--- include running
local state = redis.call('GET', KEYS[2]) or state_of(KEYS[1])
if FINAL[state] then
  -- A write, so that who waits for copies of this answer waits for those of what it repeats.
  redis.call('EXPIRE', KEYS[3], tonumber(ARGV[1]))
  return {'ended', state}
end
redis.call('SET', KEYS[3], 'asked', 'EX', tonumber(ARGV[1]))
if running(state) then return {'running', state} end
return {'asked', state ~= '' and state or 'PENDING'}
