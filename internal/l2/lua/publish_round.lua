-- KEYS round, then watermarks of buckets; ARGV seen (a round, or '' for none), new, then a watermark for each bucket,
-- and the names of the watermarks if they are not among KEYS: in a Cluster all of KEYS are of one slot Publishes a
-- round if the last one still is the one that was seen, begun by the same token, and if each bucket has come at least
-- as far as its watermark in ARGV says: what was applied elsewhere, before a fail-over, is not claimed here. A
-- watermark that this server has not got is an error. Returns whether it did.
if (round(KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
local names, needed = { unpack(KEYS, 2) }, #KEYS - 1
local apart = needed == 0
if apart then
  needed = (#ARGV - 2) / 2
  names = { unpack(ARGV, 3 + needed) }
end
for i, w in ipairs(watermarks(names, apart)) do
  local need = ARGV[i + 2]
  if w == '' or string.sub(w, 1, 16) ~= string.sub(need, 1, 16) or before(w, 17, need, 17) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
