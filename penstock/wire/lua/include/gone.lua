-- Whether a task without a record had one; the mark of a `task_ask` is no end.
local function gone(ended, revoked)
  if redis.call('EXISTS', ended) == 1 then return 1 end
  return redis.pcall('GET', revoked) == '1' and 1 or 0
end
