-- KEYS a key that does not exist
-- Changes nothing, by a command that a server refuses if it is a replica or takes no writes.
return redis.call('DEL', KEYS[1])
