-- KEYS record, lease, watermark; ARGV version
apply(KEYS[1], KEYS[2], ARGV[1], incarnation(KEYS[3]))
return 1
