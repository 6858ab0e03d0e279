-- Whether a task without a record had one; the mark of a `task_ask` is no end.
local function gone(ended, revoked, former_ended, former_revoked)
  if redis.call('EXISTS', ended, former_ended or ended) > 0 or redis.pcall('GET', revoked) == '1' then
    return 1
  end
  return former_revoked and redis.pcall('GET', former_revoked) == '1' and 1 or 0
end
