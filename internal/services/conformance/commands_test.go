package conformance

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

// data is what every command meets, one line a command: a string, a counter, a list, a hash, sets, sorted sets, a
// bitmap, a stream, places and a HyperLogLog; "none" is absent.
const data = `
SET str value
SET num 1
RPUSH list x y z
RPUSH list2 q
HSET hash f 1 g two
SADD set x y
SADD set2 y z
SADD lone m
ZADD zset 1 x 2 y
ZADD zset2 3 y
XADD stream 1-1 f v
GEOADD geo 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
PFADD hll x
SET volatile v PX 100000`

// commands are tried one by one on data: every command that both servers have, where one may or may not change
// anything in each of these cases.
const commands = `
APPEND str x
APPEND none x
BITCOUNT str
BITOP AND dest str num
BITOP AND str none none
BITPOS str 1
COPY str dest
COPY str num
COPY none dest
COPY str num REPLACE
DECR num
DECRBY num 1
DEL str none list
DUMP str
EXISTS str none
EXPIRE str 100
EXPIRE none 100
EXPIRE str -1
EXPIREAT str 9999999999
EXPIRETIME str
GEOADD geo 13.361389 38.115556 Palermo
GEODIST geo Palermo Catania
GEOPOS geo Palermo
GEORADIUS geo 15 37 200 km
GEORADIUS geo 15 37 200 km STORE dest
GEORADIUS geo 15 37 1 km STORE str
GEORADIUS_RO geo 15 37 200 km
GEORADIUSBYMEMBER geo Palermo 200 km
GEORADIUSBYMEMBER_RO geo Palermo 200 km
GET str
GET none
GETBIT str 1
GETDEL str
GETDEL none
GETEX str
GETEX str PX 1000
GETEX str PERSIST
GETEX volatile PERSIST
GETEX none PX 1000
GETRANGE str 0 1
GETSET str x
GETSET none x
HDEL hash f
HDEL hash f g
HDEL hash none
HEXISTS hash f
HGET hash f
HGETALL hash
HINCRBY hash f -1
HINCRBYFLOAT hash f -1
HKEYS hash
HLEN hash
HMGET hash f g
HMSET hash f 1
HRANDFIELD hash
HSCAN hash 0
HSET hash f 1
HSET hash f 2
HSETNX hash f 1
HSETNX hash n 1
HSTRLEN hash f
HVALS hash
INCR num
INCRBY num -1
INCRBYFLOAT num -1
KEYS *
LINDEX list 0
LINSERT list BEFORE y w
LINSERT list BEFORE no w
LINSERT none BEFORE no w
LLEN list
LMOVE list list2 LEFT RIGHT
LMOVE list dest LEFT RIGHT
LMOVE list list LEFT RIGHT
LMOVE none list2 LEFT RIGHT
LMPOP 2 none list LEFT
LMPOP 1 none LEFT
LPOP list
LPOP list2
LPOP none
LPOP list 0
RPOP list 2
LPOS list y
LPUSH list w
LPUSH dest w
LPUSHX list w
LPUSHX none w
LRANGE list 0 -1
LREM list 0 x
LREM list 0 no
LSET list 0 x
LTRIM list 0 -1
LTRIM list 1 1
LTRIM none 1 1
MGET str none list
MOVE none 1
MSET str x dest y
MSETNX dest x none y
MSETNX dest x str y
OBJECT IDLETIME str
PERSIST str
PERSIST volatile
PEXPIRE str 100000
PEXPIREAT str 9999999999999
PEXPIRETIME str
PFADD hll x
PFADD hll y
PFADD dest y
PFCOUNT none
PSETEX str 100000 x
PTTL str
PUBLISH str x
RANDOMKEY
RENAME str dest
RENAME str num
RENAME none dest
RENAMENX str dest
RENAMENX str num
RPOP list
RPOP none
RPOPLPUSH list list2
RPOPLPUSH none list2
RPUSH list w
RPUSHX list w
RPUSHX none w
SADD set x
SADD set w
SCARD set
SCAN 0
SDIFF set set2
SDIFFSTORE dest set set2
SDIFFSTORE set2 none set
SDIFFSTORE dest none set
SET str value
SET str other
SET dest x
SET str x NX
SET dest x NX
SET str x XX
SET dest x XX
SET str x GET
SET dest x GET
SET dest x NX GET
SET str x NX GET
SET dest x XX GET
SET str x XX GET
SET str x EX 0
SET volatile v KEEPTTL
SETBIT str 1 1
SETBIT str 1 0
SETEX str 100 x
SETNX str x
SETNX dest x
SETRANGE str 0 v
SETRANGE none 0 v
SINTER set set2
SINTERCARD 2 set set2
SINTERSTORE dest set set2
SINTERSTORE str none set
SISMEMBER set x
SMEMBERS set
SMISMEMBER set x y
SMOVE set set2 x
SMOVE set set2 y
SMOVE set dest x
SMOVE set set2 no
SMOVE lone set m
SPOP set
SPOP none
SPOP lone
SPOP set 0
SRANDMEMBER set
SREM set x
SREM set no
SSCAN set 0
STRLEN str
SUNION set set2
SUNIONSTORE dest set set2
TOUCH str none
TTL str
TYPE str
UNLINK str none
WATCH str
XACK stream group 1-1
XADD stream * f v
XADD none NOMKSTREAM * f v
XADD stream MAXLEN 1 * f v
XDEL stream 1-1
XDEL stream 9-9
XGROUP CREATE stream g $
XGROUP CREATE none g $ MKSTREAM
XINFO STREAM stream
XLEN stream
XRANGE stream - +
XREAD COUNT 1 STREAMS stream 0
XREVRANGE stream + -
XTRIM stream MAXLEN 0
XTRIM stream MAXLEN 9
ZADD zset 1 x
ZADD zset 9 x
ZADD zset 9 w
ZADD zset NX 9 x
ZADD zset XX 9 w
ZADD zset XX INCR 9 w
ZADD zset GT 0 x
ZCARD zset
ZCOUNT zset 0 9
ZINCRBY zset -1 x
ZINTER 2 zset zset2
ZINTERSTORE dest 2 zset zset2
ZINTERSTORE str 1 none
ZLEXCOUNT zset - +
ZMPOP 2 none zset MIN
ZMPOP 1 none MIN
ZMSCORE zset x
ZPOPMAX zset
ZPOPMAX none
ZPOPMIN zset2
ZRANDMEMBER zset
ZRANGE zset 0 -1
ZRANGEBYLEX zset - +
ZRANGEBYSCORE zset 0 9
ZRANK zset x
ZREM zset x
ZREM zset no
ZREMRANGEBYLEX zset [x [x
ZREMRANGEBYRANK zset 0 0
ZREMRANGEBYRANK zset 8 9
ZREMRANGEBYSCORE zset 8 9
ZREVRANGE zset 0 -1
ZREVRANGEBYLEX zset + -
ZREVRANGEBYSCORE zset 9 0
ZREVRANK zset x
ZSCAN zset 0
ZSCORE zset x
ZUNION 2 zset zset2
ZUNIONSTORE dest 2 zset zset2`

// all are the keys that data and commands know.
var all = strings.Fields("str num list list2 hash set set2 lone zset zset2 stream geo hll volatile none dest")

func lines(s string) (out [][]string) {
	for l := range strings.Lines(strings.TrimSpace(s)) {
		out = append(out, strings.Fields(l))
	}
	return out
}

// ended is a reply as far as it matters here: whether it was an error, and any pushes before or after it.
func (k *conn) ended(args ...string) string {
	k.t.Helper()
	reply := k.do(args...)
	kind := "done"
	if strings.HasPrefix(reply, "-") {
		kind = reply
	}
	return kind
}

// TestCommands: what each command that Redis has changes, and what it makes its caller track, told by the pushes.
func TestCommands(t *testing.T) {
	same(t, func(t *testing.T, s server) (out []string) {
		tr, w := dial(t, s.addr, true), dial(t, s.addr, false)
		fresh := func() {
			w.do("FLUSHALL")
			for _, l := range lines(data) {
				if got := w.do(l...); strings.HasPrefix(got, "-") {
					t.Fatalf("%v: got %s, want no error", l, got)
				}
			}
			tr.pushed()
		}
		for _, l := range lines(commands) {
			fresh()
			tr.do(append([]string{"EXISTS"}, all...)...) // tracks every key
			kind := w.ended(l...)
			changes := tr.pushed()

			fresh()
			tr.ended(l...)
			tr.pushed()
			for _, key := range all { // each is pushed if the command has read it
				w.do("SET", key, "x")
			}
			out = append(out, fmt.Sprintf("%s: %s; changes %s; tracks %s", strings.Join(l, " "), kind, keys(changes),
				keys(tr.pushed())))
		}
		return out
	})
}

// keys are those in a line of pushes, sorted.
func keys(pushes string) []string {
	var out []string
	for _, f := range strings.Fields(strings.NewReplacer("[", " ", "]", " ").Replace(pushes)) {
		if f != `"invalidate"` && strings.HasPrefix(f, `"`) {
			out = append(out, strings.Trim(f, `"`))
		}
	}
	sort.Strings(out)
	return out
}
