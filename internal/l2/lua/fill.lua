-- KEYS record, lease, watermark; ARGV id, incarnation at acquire, record, ttl
-- The only way a value is born: while the lease of this very load stands, in the incarnation that it began in.
if get(KEYS[2]) ~= 'R' .. ARGV[1] then
  return 'lease_lost'
end
redis.call('DEL', KEYS[2])
-- The id ends with a version that existed when the lease was granted. Whoever applied that version left the lease.
if less(ARGV[3], 17, ARGV[1], 9) then
  return 'lease_lost'
end
if incarnation(KEYS[3]) ~= ARGV[2] then
  return 'incarnation_changed'
end
redis.call('SET', KEYS[1], string.sub(ARGV[3], 1, 8) .. ARGV[2] .. string.sub(ARGV[3], 17), 'PX', ARGV[4])
return 'filled'
