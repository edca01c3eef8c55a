-- KEYS round, then watermarks of buckets; ARGV seen (a round, or '' for none), new, then a watermark for each bucket
-- Publishes a round if the last one still is the one that was seen, begun by the same token, and if each bucket has
-- come at least as far as its watermark in ARGV says: what was applied elsewhere, before a fail-over, is not claimed here.
-- Returns whether it did.
if (round(KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
for i = 2, #KEYS do
  local w, need = watermark(KEYS[i]), ARGV[i + 1]
  if not w or string.sub(w, 1, 16) ~= string.sub(need, 1, 16) or before(w, 17, need, 17) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
