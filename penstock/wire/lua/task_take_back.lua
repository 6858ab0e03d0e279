-- Have a task not ended that its own execution has ended by hand, before that is tried again.
-- KEYS: record, events, ended
-- ARGV: the STARTED record without its opening brace, seconds to keep it
-- Answer: 1
--- include state
--- include cursor
--- include packed
--- include append
--- include write
redis.call('DEL', KEYS[3])
write(ARGV[1], '', ARGV[2])
--- include noted
return 1
