-- Lease tokens from the bucket of an API key.
-- KEYS: bucket
-- ARGV: rate, burst, tokens wanted, tokens owed
-- Answer: {tokens granted, microseconds until there is one more}
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local sound, kept = pcall(redis.call, 'HMGET', KEYS[1], 'tokens', 'at')
if not sound or kept.err then
  redis.call('DEL', KEYS[1])
  kept = {}
end
local tokens = math.min(burst, (tonumber(kept[1]) or burst)
    + math.max(0, now - (tonumber(kept[2]) or now)) / 1000000 * rate) - tonumber(ARGV[4])
local granted = math.max(0, math.min(tonumber(ARGV[3]), math.floor(tokens)))
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%d', now))
local full_ms = math.ceil((burst - tokens) / rate * 1000)
redis.call('PEXPIRE', KEYS[1], string.format('%d', full_ms + 1000))
return {granted, math.ceil(math.max(0, 1 - tokens) / rate * 1000000)}
