-- A change of state: the record, its event and a notice, together.
-- KEYS: record (also the channel of the notices), events, ended

-- `body` is the record without its opening brace: the cursor, which Redis makes, becomes its first
-- member. `event` is what the stream gets in place of a long record; '' is the record itself.
-- An end that is the first event of its task makes no stream. Returns whether there is one.
local function write(body, event, keep_s)
  local streamed, record = redis.call('EXISTS', KEYS[2]) == 1, nil
  local state = string.match(body, '^"status":"([^"\\]*)",')
  if not streamed and event == '' and FINAL[state] and redis.call('EXISTS', KEYS[1]) == 0 then
    local cursor = next_cursor()
    record = '{"cursor":"' .. cursor .. '","first":"' .. cursor .. '",' .. body
  else
    if not streamed then unpack_record() end
    streamed = true
    record = '{"cursor":"' .. append(event ~= '' and event or '{' .. body, keep_s) .. '",' .. body
  end
  redis.call('SET', KEYS[1], record, 'EX', keep_s)
  redis.call('PUBLISH', KEYS[1], record)
  return streamed
end

-- The mark that a task has ended outlives its record.
local function mark_ended(state, keep_s)
  redis.call('SET', KEYS[3], state, 'EX', keep_s + ENDED_EXTRA_S)
end
