-- KEYS watermark; ARGV seen (a watermark, or '' for none), new
-- Starts the bucket anew if its watermark still is the one that was seen. With the new incarnation every record is a miss.
local w = watermark(KEYS[1]) or ''
if w == ARGV[1] then
  w = ARGV[2]
  redis.call('SET', KEYS[1], w)
end
return w
