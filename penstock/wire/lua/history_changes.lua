-- What has changed since a position in the stream of history.
-- KEYS: stream
-- ARGV: position, the id behind it, entries at most
-- Answer: {1, or 0 = the entry at the position is gone; ids of the first and last entry behind it, or
--         ''; how many there are; the records that they name, each once: lengths, and one text}
local there = #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1], 'COUNT', 1)
local entries = redis.call('XRANGE', KEYS[1], ARGV[2], '+', 'COUNT', ARGV[3])
local names, lengths, seen = {}, {}, {}
for _, entry in ipairs(entries) do
  local name = entry[2][2]
  if not seen[name] then
    seen[name] = true
    names[#names + 1] = name
    lengths[#names] = #name
  end
end
local count = #entries
return {there, count > 0 and entries[1][1] or '', count > 0 and entries[count][1] or '', count,
  table.concat(lengths, ' '), table.concat(names)}
