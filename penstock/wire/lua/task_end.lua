-- Record an end that the broker decided, unless the task ended before or another copy of it runs.
-- KEYS: record, events, ended, copy; what its tenant's results take, if it has a tenant
-- ARGV: final state, its record without the opening brace, seconds to keep it, nonce of the copy,
--       what it was asked with, for history, or ''; with the fifth key: when the record is gone,
--       when the mark of the end is
-- Answer: recorded, ended or other-copy
--- include state
--- include cursor
--- include packed
--- include append
--- include write
--- include asked
--- include charge
if redis.call('EXISTS', KEYS[3]) == 1 or FINAL[state_of(KEYS[1])] then return 'ended' end
local started = redis.call('GET', KEYS[4])
if ARGV[4] ~= '' and started and started ~= ARGV[4] then return 'other-copy' end
local streamed = write(ARGV[2], '', tonumber(ARGV[3]))
mark_ended(ARGV[1], tonumber(ARGV[3]))
asked(ARGV[5])
if KEYS[5] then charge(KEYS[5], ARGV[6], ARGV[7], ARGV[2], streamed, tonumber(ARGV[3])) end
--- include noted
return 'recorded'
