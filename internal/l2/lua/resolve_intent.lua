-- KEYS record, lease, watermark; ARGV id, version
-- The write is over: applies its version and takes its intent away. The intents of other writers stay.
apply(KEYS[1], KEYS[2], ARGV[2], incarnation(KEYS[3]))
local l = get(KEYS[2])
if l and string.sub(l, 1, 1) == 'W' then
  local rest = ''
  for i = 2, #l, 16 do
    local id = string.sub(l, i, i + 15)
    if id ~= ARGV[1] then
      rest = rest .. id
    end
  end
  local left = redis.call('PTTL', KEYS[2])
  if rest == '' or left <= 0 then
    redis.call('DEL', KEYS[2])
  else
    redis.call('SET', KEYS[2], 'W' .. rest, 'PX', left)
  end
end
return 1
