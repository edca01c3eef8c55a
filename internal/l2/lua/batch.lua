-- KEYS watermark, then record and lease of each change; ARGV from (a watermark), to (a position), versions of 8 bytes
-- Applies changes and moves the watermark past them in one step, so that after a fail-over to a replica that lagged it
-- goes back together with the data. Refuses if what came before `from` may not have been applied here. It never moves
-- the watermark back. A large transaction comes in several batches: `from` and `to` then say which part of it came before.
local w, from = watermark(KEYS[1]), ARGV[1]
if not w or string.sub(w, 1, 16) ~= string.sub(from, 1, 16) or before(w, 17, from, 17) then
  return { 0, w or '' }
end
local bucket = string.sub(w, 1, 8)
for i = 2, #KEYS, 2 do
  local at = (i - 2) * 4 + 1
  apply(KEYS[i], KEYS[i + 1], string.sub(ARGV[3], at, at + 7), bucket)
end
if before(w, 17, ARGV[2], 9) then
  w = bucket .. ARGV[2]
  redis.call('SET', KEYS[1], w)
end
return { 1, w }
