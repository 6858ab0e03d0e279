-- The beginnings of records, and of those that do not tell their events themselves the events.
-- KEYS: records
-- ARGV: octets of a beginning, then for each record the cursor of the event that is known last
-- Answer: for each record its beginning ('' = there is none), and its events behind the cursor: lines
--         of cursor, blank, JSON; as the lengths of all of these, and one text: it is the number of
--         values that costs who reads them.
local most, lengths, texts = ARGV[1] - 1, {}, {}
for i, record in ipairs(KEYS) do
  local head, events = redis.pcall('GETRANGE', record, 0, most), {}
  if type(head) == 'table' then head = '' end
  if head ~= '' and not string.find(head, '^{"cursor":"[%d-]+","first":"') then
    local ms, n = string.match(ARGV[i + 1], '^(%d+)%-(%d+)$')
    local beyond = ms .. '-' .. string.format('%d', n + 1)
    local found = redis.pcall('XRANGE', 'penstock:events:{' .. record .. '}', beyond, '+')
    for _, event in ipairs(found) do
      events[#events + 1] = event[1] .. ' ' .. event[2][2]
    end
  end
  local lines = table.concat(events, '\n')
  texts[2 * i - 1], texts[2 * i] = head, lines
  lengths[2 * i - 1], lengths[2 * i] = #head, #lines
end
return {table.concat(lengths, ' '), table.concat(texts)}
