-- KEYS record, lease, watermark; ARGV id, ttl, 'set_aside' or 'delete'
-- Puts a writer's intent in the place of the lease, and takes the value out of the readers' way. Up to 64 writers share
-- the place. Returns 1 if this writer has set a value aside, which it may then restore.
local ids, doubted, left = {}, false, 0
local l = get(KEYS[2])
if l and string.sub(l, 1, 1) == 'W' then
  ids, doubted = intents(l)
  left = redis.call('PTTL', KEYS[2])
end
if #ids >= 64 then -- what becomes of the first one's write will not be known
  table.remove(ids, 1)
  doubted = true
end
ids[#ids + 1] = ARGV[1]
redis.call('SET', KEYS[2], intended(ids, doubted), 'PX', math.max(left, tonumber(ARGV[2])))
if ARGV[3] == 'set_aside' then
  return doubt(KEYS[1], KEYS[2], incarnation(KEYS[3])) and 1 or 0
end
redis.call('DEL', KEYS[1])
return 0
