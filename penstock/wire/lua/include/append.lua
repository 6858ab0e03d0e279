-- An event at the end of the stream. KEYS: record, events
local function append(event, keep_s)
  local cursor = redis.call('XADD', KEYS[2], 'MAXLEN', '~', EVENTS_LENGTH, '*', 'e', event)
  redis.call('EXPIRE', KEYS[2], keep_s)
  return cursor
end

-- Make a stream of the events that the record tells, if it does. Returns the text of the record as
-- it has to be from then on; nil: as it is.
local function unpack_record()
  local record = redis.call('GET', KEYS[1])
  local events = record and packed_events(record)
  if not events then return nil end
  for _, event in ipairs(events) do
    redis.call('XADD', KEYS[2], event[1], 'e', event[2][2])
  end
  local last = events[#events]
  return '{"cursor":"' .. last[1] .. '",' .. string.sub(last[2][2], 2)
end
