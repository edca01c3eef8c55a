-- KEYS watermark; ARGV seen (a watermark, or '' for none), new
-- Begins a new incarnation of the bucket if its watermark still is the one that was seen. Every record becomes a miss.
local w = watermark(KEYS[1]) or ''
if w == ARGV[1] then
  w = ARGV[2]
  redis.call('SET', KEYS[1], w)
end
return w
