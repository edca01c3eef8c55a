-- KEYS record, lease; ARGV id
-- Gives up a lease whose load came to nothing. Redis pushes that to every client that waits for its end: each has read
-- the lease.
if get(KEYS[2]) ~= 'R' .. ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
return 1
