-- Count octets that a tenant's results take, by the time at which they are gone.
local function charge(usage, gone, size, keep_s)
  if redis.call('HINCRBY', usage, gone, string.format('%d', size)) > size then return end
  local longest = 2 * keep_s + ENDED_EXTRA_S
  if redis.call('TTL', usage) < longest then redis.call('EXPIRE', usage, longest) end
end
