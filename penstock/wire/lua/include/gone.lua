-- Whether a task without a record had one; the mark of a `task_ask` is no end.
local function is_revoked(mark)
  local by = mark and redis.pcall('GET', mark)
  return type(by) == 'string' and by ~= 'asked'
end

local function gone(ended, revoked, former_ended, former_revoked)
  if redis.call('EXISTS', ended, former_ended or ended) > 0 or is_revoked(revoked) then return 1 end
  return is_revoked(former_revoked) and 1 or 0
end
