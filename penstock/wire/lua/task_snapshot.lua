-- What streams begin with: the records of tasks, and the events after a cursor.
-- KEYS: record, events, ended, revoked of each task
-- ARGV: octets of a record that is answered whole, events at once, then a cursor or '' for each task
-- Answer: for each task {the record or its short form, or 0, 1, 3 as of `task_read`, or 2 = long and
--         without short form; 1 when the events after the cursor are all there; these events}
--- include gone
--- include whole
--- include packed
local limit, page, answer = tonumber(ARGV[1]), ARGV[2], {}

local function untrimmed(events)
  local info, length = redis.call('XINFO', 'STREAM', events), redis.call('XLEN', events)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then return info[i + 1] == length end
  end
  return length < EVENTS_LENGTH
end

local function shown(record, events, ended, revoked)
  local size = redis.pcall('STRLEN', record)
  if type(size) == 'table' then return 3 end
  if size == 0 then return gone(ended, revoked) end
  if size <= limit then return whole(record, ended) end
  local head = redis.call('GETRANGE', record, 0, 80)
  local cursor = string.match(head, '^{"cursor": ?"(%d+%-%d+)"')
  local short = cursor and redis.pcall('XRANGE', events, cursor, cursor)[1]
  if not short then return 2 end
  return '{"cursor":"' .. cursor .. '",' .. string.sub(short[2][2], 2)
end

-- Of these, what came after the cursor; nil: it is none of theirs.
local function after(events, cursor)
  if cursor == '0-0' then return events end
  for i, event in ipairs(events) do
    if event[1] == cursor then return {events[i + 1]} end
  end
end

for i = 1, #KEYS, 4 do
  local n, events = (i - 1) / 4 + 1, KEYS[i + 1]
  local cursor, complete, news = ARGV[n + 2], 0, {}
  local record = shown(unpack(KEYS, i, i + 3))
  if cursor ~= '' and redis.call('TYPE', events).ok == 'stream' then
    if cursor == '0-0' then
      complete = untrimmed(events) and 1 or 0
    else
      complete = #redis.call('XRANGE', events, cursor, cursor)
    end
    if complete == 1 then  -- from the next cursor on: Redis 6.0 knows no open ranges
      local ms, n = string.match(cursor, '^(%d+)%-(%d+)$')
      local beyond = ms .. '-' .. string.format('%d', n + 1)
      news = redis.call('XRANGE', events, beyond, '+', 'COUNT', page)
    end
  elseif cursor ~= '' and type(record) == 'string' then
    local told = packed_events(record)
    local found = told and after(told, cursor)
    if found then complete, news = 1, found end
  end
  answer[n] = {record, complete, news}
end
return answer
