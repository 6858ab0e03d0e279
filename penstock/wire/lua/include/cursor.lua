-- A cursor of this moment, behind the last one, as XADD makes them: milliseconds, and a number.
local function next_cursor(last)
  local now = redis.call('TIME')
  local ms = now[1] .. string.sub('00000' .. now[2], -6, -4)
  -- Of the same length they compare as texts; only within the same millisecond they are looked into.
  if last and (last > ms or string.sub(last, #ms + 1, #ms + 1) ~= '-') then
    local before, n = string.match(last, '^(%d+)%-(%d+)$')
    if #before > #ms or (#before == #ms and before >= ms) then
      return before .. '-' .. string.format('%d', n + 1)
    end
  end
  return ms .. '-0'
end
