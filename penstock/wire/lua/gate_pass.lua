-- Whether a message at the gate certainly was at no worker, so that its task may be ended here.
-- KEYS: revoked, passed
-- ARGV: '1' = it has expired, seconds to keep the mark that it was passed on
-- Answer: revoked or expired; '' = pass it on, which is marked: a copy may be among the workers then
if redis.call('EXISTS', KEYS[2]) == 1 then return '' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'revoked' end
if ARGV[1] == '1' then return 'expired' end
redis.call('SET', KEYS[2], '1', 'EX', ARGV[2])
return ''
