-- A record as it is stored. A worker that only heard of a revocation may have written over the end
-- that the gate, or a worker, has recorded: then it says what an end says, a list of children.
local function whole(record, ended)
  local found = redis.call('GET', record)
  local head = found and string.sub(found, 1, 200) or ''
  if string.find(head, '^{"status": ?"REVOKED".-"children": ?null') and redis.call('GET', ended) == 'REVOKED' then
    found = string.gsub(found, '"children": ?null', '"children": []', 1)
  end
  return found
end
