-- The state of a task, by its record.
-- It stands near the beginning: first in what Celery writes, behind the cursor in what we write.
-- A few bytes are read, so that a result of megabytes is not copied.
local function state_of(record)
  local head = redis.call('GETRANGE', record, 0, 200)
  if head == '' then return '' end
  local state = string.match(head, '^{"cursor": ?"[%d-]+", ?"first": ?"[%d-]+", ?"status": ?"([^"]*)"')
    or string.match(head, '^{"cursor": ?"[%d-]+", ?"status": ?"([^"]*)"')
    or string.match(head, '^{"status": ?"([^"]*)"')
  -- A worker that was asked to revoke it has stored this, and not the one that drops it: `records.py`.
  if state == 'REVOKED' and string.find(head, '^{"status".-"children": ?null') then return 'PENDING' end
  if state then return state end
  local sound, found = pcall(cjson.decode, redis.call('GET', record))
  return sound and type(found) == 'table' and found['status'] or 'UNKNOWN'
end
