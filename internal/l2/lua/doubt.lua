-- KEYS record, lease, watermark; ARGV version
-- Applies the version, unless it is 0, and leaves unconfirmed what stands after that.
local bucket = incarnation(KEYS[3])
if ARGV[1] ~= NONE then
  apply(KEYS[1], KEYS[2], ARGV[1], bucket)
end
doubt(KEYS[1], KEYS[2], bucket)
return 1
