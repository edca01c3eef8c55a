-- KEYS record, lease, watermark; ARGV version, record, ttl
-- Replaces an older value of the bucket's incarnation. Anywhere else it only applies the version: on an absent key a late set
-- would bring an old value back with nothing left to kill it.
local bucket = incarnation(KEYS[3])
local v = beginning(KEYS[1])
if v and ARGV[1] ~= NONE and kind(KEYS[1], v) == 'record' and string.sub(v, 9, 16) == bucket and less(v, 17, ARGV[1], 1)
  and num(v, 5) <= num(ARGV[2], 5) then
  redis.call('SET', KEYS[1], string.sub(ARGV[2], 1, 8) .. bucket .. string.sub(ARGV[2], 17), 'PX', ARGV[3])
  unlease(KEYS[2])
  return 1
end
apply(KEYS[1], KEYS[2], ARGV[1], bucket)
return 0
