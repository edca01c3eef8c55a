-- KEYS record, lease, watermark; ARGV id, ttl, schema, unusable header or ''
-- Grants a lease if there is neither a value that the caller can use nor a lease. Returns the bucket's incarnation, the
-- status, a blank, and how long the lease in the way still runs, in milliseconds.
local bucket = incarnation(KEYS[3])
local v = beginning(KEYS[1])
if v then
  local k = kind(KEYS[1], v)
  if k == 'newer' then
    return bucket .. 'newer 0'
  end
  local unusable = ARGV[4] ~= '' and string.sub(v, 1, #ARGV[4]) == ARGV[4]
  if k == 'record' and string.sub(v, 9, 16) == bucket and not unusable then
    local theirs, ours = num(v, 5), num(ARGV[3], 1)
    if theirs > ours then
      return bucket .. 'newer 0'
    elseif theirs == ours then
      return bucket .. 'present 0'
    end
  end
end
local l = get(KEYS[2])
if l then
  local left = redis.call('PTTL', KEYS[2])
  local who = string.sub(l, 1, 1)
  if left >= 0 and who == 'W' then
    return bucket .. 'writing ' .. left
  elseif left >= 0 and who == 'R' then
    return bucket .. 'busy ' .. left
  end
  redis.call('DEL', KEYS[2]) -- of another program, or without an end
end
redis.call('SET', KEYS[2], 'R' .. ARGV[1], 'PX', ARGV[2])
return bucket .. 'granted ' .. ARGV[2]
