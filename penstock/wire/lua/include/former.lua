-- Move a mark to its present name; where both are there, the present one counts.
-- `former` is nil where no release before this one has written.
local function move(former, mark)
  if former and redis.call('EXISTS', former) == 1 and redis.call('RENAMENX', former, mark) == 0 then
    redis.call('DEL', former)
  end
end
