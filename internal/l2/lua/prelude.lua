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

-- A bucket's watermark, or false if it has none.
local function watermark(key)
  local w = get(key)
  return w and #w == 32 and w
end

local function incarnation(key)
  local w = watermark(key)
  return w and string.sub(w, 1, 8) or NONE
end

-- 'foreign', 'newer' (a format that only later releases know) or 'record'.
local function kind(v)
  if #v < 4 or string.sub(v, 1, 2) ~= 'NC' or string.byte(v, 3) == 0 then
    return 'foreign'
  end
  if string.byte(v, 3) > 1 then
    return 'newer'
  end
  if #v < 70 or num(v, 49) ~= #v - 68 then
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

-- Makes a key notice that a version exists: an older value goes, and with it any reader's lease, whose load may have
-- begun before. An absent key stays absent. Version 0 is newer than anything. A write intent stays: only
-- its writer resolves it.
local function apply(record, lease, version, bucket)
  local v = get(record)
  if v then
    local stands = version ~= NONE and kind(v) == 'record' and string.sub(v, 9, 16) == bucket and not less(v, 17, version, 1)
    if not stands then
      redis.call('DEL', record)
    end
  end
  unlease(lease)
end
