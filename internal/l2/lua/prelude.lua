-- What every script begins with. Offsets are those of record.go, counted from 1.

local NONE = '\0\0\0\0\0\0\0\0'

local function num(s, i)
  local a, b, c, d = string.byte(s, i, i + 3)
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Compares two numbers of 8 bytes, big endian, as two halves: one double holds only 53 bits, and < on strings goes by
-- the server's locale.
local function less(a, i, b, j)
  local x, y = num(a, i), num(b, j)
  if x == y then
    x, y = num(a, i + 4), num(b, j + 4)
  end
  return x < y
end

-- Compares a number and the part of it that comes after, as positions are compared.
local function before(a, i, b, j)
  return less(a, i, b, j) or (not less(b, j, a, i) and less(a, i + 8, b, j + 8))
end

-- A string's value; '' for a key of another type, which is foreign like any bytes that are no record; false if absent.
local function get(key)
  local v = redis.pcall('GET', key)
  if type(v) == 'table' then
    return ''
  end
  return v
end

-- The beginning of a string's value, or all of it where that is shorter: enough of a record for every decision. A value
-- may have megabytes, and Redis serves nobody while a script copies them. '' for a key of another type. False for an
-- absent key and for an empty string: one command cannot tell them apart, and no script needs to. A user without the
-- right to GETRANGE gets all of the value.
local BEGINNING = 256
local function beginning(key)
  local v = redis.pcall('GETRANGE', key, 0, BEGINNING - 1)
  if type(v) == 'table' then
    return get(key)
  end
  return v ~= '' and v
end

-- A bucket's watermark, or false if it has none.
local function watermark(key)
  local w = get(key)
  return w and #w == 32 and w
end

-- The relay's last round, or false if there is none.
local function round(key)
  local r = get(key)
  return r and #r >= 84 and string.sub(r, 1, 3) == 'NR\3' and r
end

-- The watermarks of keys, '' for a bucket that has none. One MGET is less work than a GET of each, but a user may lack
-- the right to it. Keys that are apart are of several slots, of which MGET reads none; and Valkey refuses what a script
-- does after one that it has refused for its slots.
local function watermarks(keys, apart)
  local found, out = apart and { err = '' } or #keys > 0 and redis.pcall('MGET', unpack(keys)) or {}, {}
  for i = 1, #keys do
    local w = found[i]
    if found.err then
      w = redis.pcall('GET', keys[i])
      if type(w) == 'table' and string.sub(w.err, 1, 9) ~= 'WRONGTYPE' then
        error(w.err) -- another server has it
      end
    end
    out[i] = type(w) == 'string' and #w == 32 and w or ''
  end
  return out
end

local function incarnation(key)
  local w = watermark(key)
  return w and string.sub(w, 1, 8) or NONE
end

-- Whether a key's value has as many bytes as its header says, by its beginning v.
local function complete(key, v)
  local size = num(v, 49) + 68
  if #v == BEGINNING then
    local last = redis.pcall('GETRANGE', key, size - 1, size) -- the last byte, and none after it
    if type(last) == 'string' then
      return size >= BEGINNING and #last == 1
    end
  end
  return #v == size
end

-- 'foreign', 'newer' (a format that only later releases know) or 'record', by the beginning v of a key's value.
local function kind(key, v)
  if #v < 4 or string.sub(v, 1, 2) ~= 'NC' or string.byte(v, 3) == 0 then
    return 'foreign'
  end
  if string.byte(v, 3) > 1 then
    return 'newer'
  end
  if #v < 70 or not complete(key, v) then
    return 'foreign'
  end
  return 'record'
end

local function unlease(lease)
  local l = get(lease)
  if l and string.sub(l, 1, 1) ~= 'W' then
    redis.call('DEL', lease)
  end
end

-- The incarnation of a record that is unconfirmed: a writer may have changed its key, and nobody knows yet. It is the
-- bucket's own, inverted. To every reader and script such a record is one of another incarnation, a miss; fail-safe
-- may serve it, with a label.
local function unconfirmed(bucket)
  local b = { string.byte(bucket, 1, 8) }
  for i = 1, 8 do
    b[i] = 255 - b[i]
  end
  return string.char(unpack(b))
end

local function of(v, bucket)
  return string.sub(v, 9, 16) == bucket
end

-- Gives a record another incarnation and leaves its TTL alone.
local function move(record, to)
  local v = get(record)
  redis.call('SET', record, string.sub(v, 1, 8) .. to .. string.sub(v, 17), 'KEEPTTL')
end

-- Makes a key notice that a version exists: an older value goes, and with it any reader's lease, whose load may have
-- begun before. An absent key stays absent. Version 0 is newer than anything. A write intent stays: only
-- its writer resolves it.
local function apply(record, lease, version, bucket)
  local v = beginning(record)
  if v then
    local stands = version ~= NONE and #v >= 24 and not less(v, 17, version, 1)
      and (of(v, bucket) or of(v, unconfirmed(bucket))) and kind(record, v) == 'record'
    if not stands then
      redis.call('DEL', record)
    end
  end
  unlease(lease)
end

-- Makes a key notice a write whose outcome is not known: its value becomes unconfirmed, and any reader's lease goes.
-- Reports whether there was a value to set aside.
local function doubt(record, lease, bucket)
  local v = beginning(record)
  local stands = v and kind(record, v) == 'record'
  local aside = stands and of(v, bucket)
  if aside then
    move(record, unconfirmed(bucket))
  elseif v and not (stands and of(v, unconfirmed(bucket))) then
    redis.call('DEL', record)
  end
  unlease(lease)
  return aside
end

-- Stands among the intents for a write of which nobody will know whether it happened.
local DOUBT = NONE .. NONE

-- The writers' ids in the place of a lease, and whether a write of unknown outcome came by while they stood there.
local function intents(l)
  local ids, doubted = {}, false
  for i = 2, #l, 16 do
    local id = string.sub(l, i, i + 15)
    if id == DOUBT then
      doubted = true
    else
      ids[#ids + 1] = id
    end
  end
  return ids, doubted
end

local function intended(ids, doubted)
  return 'W' .. (doubted and DOUBT or '') .. table.concat(ids)
end
