-- KEYS record, lease; ARGV token, ttl
-- Deletes the value and puts a writer's token in the lease's place. Several writers share the place.
local l = get(KEYS[2])
local tokens, left = '', 0
if l and string.sub(l, 1, 1) == 'W' then
  tokens, left = string.sub(l, 2), redis.call('PTTL', KEYS[2])
  if #tokens >= 16 * 64 then
    tokens = string.sub(tokens, 17)
  end
end
redis.call('SET', KEYS[2], 'W' .. tokens .. ARGV[1], 'PX', math.max(left, tonumber(ARGV[2])))
redis.call('DEL', KEYS[1])
return 1
