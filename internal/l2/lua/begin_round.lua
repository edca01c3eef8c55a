-- KEYS round, then watermarks of buckets; ARGV token
-- Begins the round after the one that was published last, unless that is begun already. Returns the round, '' if there
-- is none, and the watermarks, '' for a bucket without one: all of one moment.
local r = round(KEYS[1])
if r and string.sub(r, 13, 20) == NONE then
  r = string.sub(r, 1, 12) .. ARGV[1] .. string.sub(r, 21)
  redis.call('SET', KEYS[1], r)
end
local answer = watermarks({ unpack(KEYS, 2) })
table.insert(answer, 1, r or '')
return answer
