-- KEYS record
-- Reads a record, and how long Redis keeps it, of one moment. Returns the record, false if there is none; its TTL in
-- milliseconds, negative if it has none; and 1 if the key is of another type.
-- GETEX is refused by a replica, and tracked for nobody: a program that reads every record would fill Redis's table of
-- tracked keys, and push out those of the instances.
local v = redis.pcall('GETEX', KEYS[1])
if type(v) == 'table' then
  if string.sub(v.err, 1, 9) ~= 'WRONGTYPE' then
    return v
  end
  return { false, 0, 1 }
end
return { v, redis.call('PTTL', KEYS[1]), 0 }
