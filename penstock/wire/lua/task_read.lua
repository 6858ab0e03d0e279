-- The records of tasks, as far as they fit into an answer.
-- KEYS: record, ended, revoked of each task; or these and the former names of the last two
-- ARGV: octets that the records may have together, keys of each task
-- Answer: for each task the record, or 0 = none, 1 = none any more, 2 = beyond the octets: ask again,
--         3 = not a record
--- include gone
--- include whole
local budget, each, answer = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i = 1, #KEYS, each do
  local n, size = (i - 1) / each + 1, redis.pcall('STRLEN', KEYS[i])
  if type(size) == 'table' then
    answer[n], size = 3, 0
  elseif size == 0 then
    answer[n] = gone(unpack(KEYS, i + 1, i + each - 1))
  elseif size > budget and n > 1 then
    answer[n] = 2
  else
    answer[n] = whole(KEYS[i], KEYS[i + 1])
  end
  budget = budget - size
end
return answer
