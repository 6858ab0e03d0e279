-- What a failed task was asked with, for history, where it keeps that.
local function asked(request)
  if not request or request == '' then return end
  local stream, length = HISTORY_REQUESTS, HISTORY_REQUESTS_LENGTH
  if #request > SMALL_REQUEST_BYTES then
    stream, length = HISTORY_LARGE_REQUESTS, HISTORY_LARGE_REQUESTS_LENGTH
  end
  if redis.pcall('EXISTS', stream) == 1 then
    redis.pcall('XADD', stream, 'MAXLEN', '~', length, '*', 'r', request)
  end
end
