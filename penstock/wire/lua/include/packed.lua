-- A record that tells the events of its task, so that no stream is needed: most tasks start and end.
--
--   {"cursor":"5-0","first":"4-0","status":"SUCCESS","task_id":"…", …,"started_at":"…", …}
--
-- `first` is the cursor of the first event. The record is that event where both cursors are the same;
-- else the first was STARTED, with the members that the record has up to `started_at`.
-- A further event makes a stream of them, and the record loses its `first`.
-- Answer: the events as XRANGE has them; nil: the record tells none.
local function packed_events(record)
  local cursor, first, state, members = string.match(record,
    '^{"cursor":"([%d-]+)","first":"([%d-]+)",()"status":"[^"\\]*",()')
  if not cursor then return nil end
  local last = {cursor, {'e', '{' .. string.sub(record, state)}}
  if first == cursor then return {last} end
  local _, started_at = string.find(record, '"started_at":"', members, true)
  local stop = string.find(record, '"', started_at + 1, true)
  return {{first, {'e', '{"status":"STARTED",' .. string.sub(record, members, stop)
    .. ',"date_done":null,"children":[],"traceback":null,"result":null}'}}, last}
end
