-- KEYS owner; ARGV identity
-- Makes a prefix belong to a system, unless it belongs to one already. Returns whose it is.
local owner = get(KEYS[1])
if owner then
  return owner
end
redis.call('SET', KEYS[1], ARGV[1])
return ARGV[1]
