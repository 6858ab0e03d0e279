-- One change of state, by the worker that executes the task.
-- KEYS: record, events, ended, revoked, of an end what its tenant's results take
-- ARGV: the record without its opening brace, event ('' = the record), state when it is final or '',
--       seconds to keep, '1' to take started_at from the record there is, seconds to keep the revoke
--       mark or '0', with the fifth key: when the record is gone, when the mark of its end is; of a
--       failure the ninth is what it was asked with, for history, or ''
-- Answer: 1; 0: it had ended before, nothing was written
--- include cursor
local body, event, state, keep_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local besides = redis.call('EXISTS', KEYS[2], KEYS[3])
if besides > 0 and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local head = redis.call('GETRANGE', KEYS[1], '0', '999')

-- Most ends: of an execution that did nothing but start. The record tells both events then. (Each
-- piece of text that Lua makes costs Redis a hash of all its octets: few are made.)
local record
if state ~= '' and event == '' and besides == 0 then
  local last = string.sub(head, 12, (string.find(head, '"', 12, true) or 0) - 1)
  local before = '{"cursor":"' .. last .. '","first":"' .. last .. '","status":"STARTED",'
  local _, at = string.find(head, '"started_at":"', #before, true)
  local stop = at and string.find(head, '"', at + 1, true)
  if stop and string.find(head, before, 1, true) == 1 then
    local now = '"status":"' .. state .. '",' .. string.sub(head, #before + 1, stop)
    if string.find(body, now, 1, true) == 1 then
      record = '{"cursor":"' .. next_cursor(last) .. '","first":"' .. last .. '",' .. body
      redis.call('SET', KEYS[1], record, 'EX', keep_s)
      redis.call('PUBLISH', KEYS[1], record)
    end
  end
end

local streamed = false
if not record then
--- include packed
--- include append
--- include write
--- include state
  -- An end that a stock worker has stored has no mark.
  if besides == 0 and FINAL[state_of(KEYS[1])] then return 0 end
  if ARGV[5] == '1' then
    local started = string.match(head, '"started_at": ?"([%d:TZ.+-]+)"')
    if started then body = '"started_at":"' .. started .. '",' .. body end
  end
  streamed = write(body, event, keep_s)
end
if state ~= '' then
  redis.call('SET', KEYS[3], state, 'EX', string.format('%d', keep_s + ENDED_EXTRA_S))
end
if streamed and state ~= '' and redis.call('XLEN', KEYS[2]) <= 100 then
  -- Redis 7 gives a stream room for more, 4 KiB as it comes; one that is restored has none.
  redis.call('RESTORE', KEYS[2], keep_s .. '000', redis.call('DUMP', KEYS[2]), 'REPLACE')
end
if ARGV[6] ~= '0' then redis.call('SET', KEYS[4], '1', 'EX', ARGV[6]) end
if KEYS[5] then
--- include charge
  charge(KEYS[5], ARGV[7], ARGV[8], body, streamed, keep_s)
end
if ARGV[9] then
--- include asked
  asked(ARGV[9])
end
--- include noted
return 1
