-- Record an end that the broker decided, unless the task ended before or another copy of it runs.
-- KEYS: record, events, ended, copy; the former names of the last two
-- ARGV: final state, its record without the opening brace, seconds to keep it, nonce of the copy,
--       what it was asked with, for history, or none
-- Answer: recorded, ended or other-copy
--- include state
--- include cursor
--- include packed
--- include append
--- include write
--- include former
--- include asked
for mark = 3, 4 do move(KEYS[mark + 2], KEYS[mark]) end
if redis.call('EXISTS', KEYS[3]) == 1 or FINAL[state_of(KEYS[1])] then return 'ended' end
local started = redis.call('GET', KEYS[4])
if ARGV[4] ~= '' and started and started ~= ARGV[4] then return 'other-copy' end
write(ARGV[2], '', tonumber(ARGV[3]))
mark_ended(ARGV[1], tonumber(ARGV[3]))
asked(ARGV[5])
--- include noted
return 'recorded'
