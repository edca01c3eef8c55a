-- KEYS watermark; ARGV four random bytes
-- For L2 without a relay. The first half of the bucket's incarnation names the history of this server: its replication
-- id, which changes when a replica is promoted and when a server starts. If it names another history, or there is no
-- watermark, a new incarnation begins, so that every record of before is a miss. Returns the watermark.
local function field(section, name)
  return string.match(redis.call('INFO', section), name .. ':(%w+)')
end
-- GETEX is refused by a replica, and tracked for nobody.
local w = redis.pcall('GETEX', KEYS[1])
if type(w) == 'table' then
  if string.find(w.err, 'Unknown Redis command', 1, true) then -- Redis does not name it
    return redis.error_reply("ERR unknown command 'getex'")
  end
  if string.sub(w.err, 1, 9) ~= 'WRONGTYPE' then
    return w
  end
  w = false
end
local id = field('replication', 'master_replid') or field('server', 'run_id')
if not id then
  return redis.error_reply('ERR the server names neither its replication id nor its run id in INFO')
end
local history = string.gsub(string.sub(redis.sha1hex(id), 1, 8), '..', function(x)
  return string.char(tonumber(x, 16))
end)
if not w or #w ~= 32 then
  w = string.rep('\0', 32)
end
if string.sub(w, 1, 4) ~= history then
  w = history .. ARGV[1] .. string.sub(w, 9)
  redis.call('SET', KEYS[1], w)
end
return w
