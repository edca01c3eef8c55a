-- KEYS lease of a key that no cache has; ARGV ttl
-- Calls every command that the scripts call, so that a user without the right to one of them is found out at the start.
redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
redis.call('GET', KEYS[1])
redis.call('EXISTS', KEYS[1])
redis.call('PTTL', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[1])
return 1
