-- KEYS record, lease, watermark; ARGV id, version, outcome
-- The write is over: takes its intent away. The intents of other writers stay. The outcome is 'committed', which applies
-- the version; 'unknown', which leaves the value unconfirmed; 'refused', for a write that certainly did not happen; or
-- 'restore', which is 'refused' by the writer that has set the value aside: if its intent has stood all the time, and
-- every other write of that time is known not to have happened, the value is confirmed again.
local bucket = incarnation(KEYS[3])
if ARGV[3] == 'committed' then
  apply(KEYS[1], KEYS[2], ARGV[2], bucket)
elseif ARGV[3] == 'unknown' then
  doubt(KEYS[1], KEYS[2], bucket)
end
local l = get(KEYS[2])
if not l or string.sub(l, 1, 1) ~= 'W' then
  return 0
end
local ids, doubted = intents(l)
doubted = doubted or ARGV[3] == 'unknown'
local rest, found = {}, false
for _, id in ipairs(ids) do
  if id == ARGV[1] then
    found = true
  else
    rest[#rest + 1] = id
  end
end
local left = redis.call('PTTL', KEYS[2])
if #rest > 0 and left > 0 then
  redis.call('SET', KEYS[2], intended(rest, doubted), 'PX', left)
  return 0
end
redis.call('DEL', KEYS[2])
local v = beginning(KEYS[1])
if ARGV[3] == 'restore' and found and #rest == 0 and not doubted and v and kind(KEYS[1], v) == 'record'
  and of(v, unconfirmed(bucket)) then
  move(KEYS[1], bucket)
  return 1
end
return 0
