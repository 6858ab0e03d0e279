-- Whether a task without a record had one; the mark of a `task_ask` is no end.
local function is_revoked(mark)
  local by = redis.pcall('GET', mark)
  return type(by) == 'string' and by ~= 'asked'
end

local function gone(ended, revoked)
  return (redis.call('EXISTS', ended) == 1 or is_revoked(revoked)) and 1 or 0
end
