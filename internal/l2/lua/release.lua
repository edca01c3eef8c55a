-- KEYS record, lease; ARGV id
-- Gives up a lease whose load came to nothing. Setting and deleting the absent record makes Redis push it to those who
-- wait for the fill, so that one of them tries next.
if get(KEYS[2]) ~= 'R' .. ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], '')
  redis.call('DEL', KEYS[1])
end
return 1
