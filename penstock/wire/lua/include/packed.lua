-- A record that tells the events of its task, so that no stream is needed: most tasks start and end.
--
--   {"cursor":"5-0","status":"SUCCESS","first":"4-0","task_id":"…", …,"started_at":"…", …}
--
-- `first` is the cursor of the first event. The record is that event where both cursors are the same;
-- else the first was STARTED, with the members that the record has up to `started_at`.
-- A further event makes a stream of them, and the record loses its `first`.
-- Answer: the events as XRANGE has them; nil: the record tells none.
local function packed_events(record)
  local cursor, state, first, at =
    string.match(record, '^{"cursor":"([%d-]+)",("status":"[^"\\]*",)"first":"([%d-]+)",()')
  if not cursor then return nil end
  local last = {cursor, {'e', '{' .. state .. string.sub(record, at)}}
  if first == cursor then return {last} end
  local _, started_at = string.find(record, '"started_at":"', at, true)
  local stop = string.find(record, '"', started_at + 1, true)
  return {{first, {'e', '{"status":"STARTED",' .. string.sub(record, at, stop)
    .. ',"date_done":null,"children":[],"traceback":null,"result":null}'}}, last}
end
