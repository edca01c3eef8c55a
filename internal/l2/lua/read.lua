-- KEYS record, watermark
-- Reads both of one moment on one server. Returns the watermark, '' if there is none; the record, false if there is none;
-- and 1 if the record's key is of another type.
local w = watermark(KEYS[2]) or ''
local v = redis.pcall('GET', KEYS[1])
if type(v) == 'table' then
  return { w, false, 1 }
end
return { w, v, 0 }
