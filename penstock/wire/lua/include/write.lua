-- A change of state: the record, an entry of the event stream and a notice, together.
-- KEYS: record (also the channel of the notices), events, ended
local function append(event, keep_s)
  local cursor = redis.call('XADD', KEYS[2], 'MAXLEN', '~', EVENTS_LENGTH, '*', 'e', event)
  redis.call('EXPIRE', KEYS[2], keep_s)
  return cursor
end

-- `body` is the record without its opening brace: the cursor, which Redis makes, becomes its first
-- member. `event` is what the stream gets in place of a long record; '' is the record itself.
local function write(body, event, keep_s)
  local cursor = append(event ~= '' and event or '{' .. body, keep_s)
  local record = '{"cursor":"' .. cursor .. '",' .. body
  redis.call('SET', KEYS[1], record, 'EX', keep_s)
  redis.call('PUBLISH', KEYS[1], record)
end

-- The mark that a task has ended outlives its record.
local function mark_ended(state, keep_s)
  redis.call('SET', KEYS[3], state, 'EX', keep_s + ENDED_EXTRA_S)
end
