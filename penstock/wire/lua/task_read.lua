-- The records of tasks, as far as they fit into an answer.
-- KEYS: record, ended, revoked of each task
-- ARGV: octets that the records may have together
-- Answer: for each task the record, or 0 = none, 1 = none any more, 2 = beyond the octets: ask again,
--         3 = not a record
--- include gone
--- include whole
local budget, answer = tonumber(ARGV[1]), {}
for i = 1, #KEYS, 3 do
  local n, size = (i - 1) / 3 + 1, redis.pcall('STRLEN', KEYS[i])
  if type(size) == 'table' then
    answer[n], size = 3, 0
  elseif size == 0 then
    answer[n] = gone(KEYS[i + 1], KEYS[i + 2])
  elseif size > budget and n > 1 then
    answer[n] = 2
  else
    answer[n] = whole(KEYS[i], KEYS[i + 1])
  end
  budget = budget - size
end
return answer
