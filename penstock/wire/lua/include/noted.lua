-- A change for history, where there is any: its stream exists. No fault of it costs the task anything.
if redis.pcall('EXISTS', HISTORY_CHANGES) == 1 then
  redis.pcall('XADD', HISTORY_CHANGES, 'MAXLEN', '~', HISTORY_CHANGES_LENGTH, '*', 'k', KEYS[1])
end
