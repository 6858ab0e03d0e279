-- Whether what claims and ends write can be written: to two keys of different slots.
-- KEYS: one that is written, another
-- ARGV: seconds to keep it
-- Answer: 1
redis.call('SET', KEYS[1], '1', 'EX', ARGV[1])
redis.call('EXISTS', KEYS[2])
return 1
