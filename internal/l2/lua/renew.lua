-- KEYS lease; ARGV id, ttl
if get(KEYS[1]) ~= 'R' .. ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
