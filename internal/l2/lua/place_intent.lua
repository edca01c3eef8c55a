-- KEYS record, lease; ARGV id, ttl
-- Deletes the value and puts a writer's intent in the place of the lease. Several writers share the place.
local l = get(KEYS[2])
local ids, left = '', 0
if l and string.sub(l, 1, 1) == 'W' then
  ids, left = string.sub(l, 2), redis.call('PTTL', KEYS[2])
  if #ids >= 16 * 64 then
    ids = string.sub(ids, 17)
  end
end
redis.call('SET', KEYS[2], 'W' .. ids .. ARGV[1], 'PX', math.max(left, tonumber(ARGV[2])))
redis.call('DEL', KEYS[1])
return 1
