// Package conformance holds the embedded Redis to the behaviour of a real one: the same commands go to both, over raw
// RESP3, and everything that comes back, replies and pushes in their order, must be the same. The embedded one imitates
// Redis 7; where other versions and servers differ, differences_test.go says how, and why that is harmless.
package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// conn speaks RESP3.
type conn struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string, tracking bool) *conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	k := &conn{t, c, bufio.NewReader(c)}
	k.do("HELLO", "3")
	if tracking {
		if got := k.do("CLIENT", "TRACKING", "ON"); got != "+OK" {
			t.Fatal(got)
		}
	}
	return k
}

func (k *conn) send(args ...string) {
	k.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(k.c, b.String()); err != nil {
		k.t.Fatal(err)
	}
}

// frame reads one reply or push, as text.
func (k *conn) frame() string {
	k.t.Helper()
	_ = k.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := k.r.ReadString('\n')
	if err != nil {
		k.t.Fatal(err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '$':
		n, _ := strconv.Atoi(line[1:])
		if n < 0 {
			return "_"
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(k.r, b); err != nil {
			k.t.Fatal(err)
		}
		return strconv.Quote(string(b[:n]))
	case '*', '>', '%', '~':
		n, _ := strconv.Atoi(line[1:])
		if line[0] == '%' {
			n *= 2
		}
		if n < 0 {
			return "_"
		}
		parts := make([]string, n)
		for i := range parts {
			parts[i] = k.frame()
		}
		return string(line[0]) + "[" + strings.Join(parts, " ") + "]"
	case '-':
		word, _, _ := strings.Cut(line, " ") // the texts differ
		return word
	}
	return line
}

// do is a command and its reply; pushes that come before it are part of the answer.
func (k *conn) do(args ...string) string {
	k.t.Helper()
	k.send(args...)
	out := k.frame()
	for strings.HasPrefix(out[strings.LastIndex(out, "\n")+1:], ">") {
		out += "\n" + k.frame()
	}
	return out
}

// pushed is everything that comes until the answer to a PING.
func (k *conn) pushed() string {
	k.t.Helper()
	k.send("PING")
	var out []string
	for {
		f := k.frame()
		if f == "+PONG" {
			sort.Strings(out) // pushes of one command may come in any order
			return strings.Join(out, " ")
		}
		out = append(out, f)
	}
}

// server is a Redis under test.
type server struct {
	addr   string
	setMax func(n int)
}

func embedded(t *testing.T) server {
	r := nearcachetest.NewRedis(t)
	return server{r.Addr(), r.SetTrackingTableMaxKeys}
}

func genuine(t *testing.T) server {
	p := servicestest.StartRedis(t)
	return server{p.Addr, func(n int) { p.Do("CONFIG", "SET", "tracking-table-max-keys", strconv.Itoa(n)) }}
}

// same runs a scenario on both and compares their transcripts.
func same(t *testing.T, scenario func(t *testing.T, s server) []string) {
	t.Helper()
	var got [2][]string
	var kind, version string
	for i, start := range []func(*testing.T) server{embedded, genuine} {
		s := start(t)
		if i == 1 {
			kind, version = identify(t, s.addr)
		}
		got[i] = scenario(t, s)
		if len(got[i]) == 0 {
			t.Fatal("an empty transcript shows nothing")
		}
	}
	if len(got[0]) != len(got[1]) {
		t.Fatalf("the embedded Redis (+) differs from the real one (-):\n%s", cmp.Diff(got[1], got[0]))
	}
	known := differs(t.Name(), kind, version)
	shown := make([]bool, len(known))
	for i := range got[0] {
		want := got[0][i]
		for j, d := range known {
			if d.step.MatchString(want) && d.real(want) == got[1][i] {
				want, shown[j] = got[1][i], true
			}
		}
		if want != got[1][i] {
			t.Errorf("step %d:\nthe real one      %s\nthe embedded one  %s", i, got[1][i], got[0][i])
		}
	}
	for j, d := range known {
		if !shown[j] && !d.sometimes {
			t.Errorf("%s %s does not differ any more: %s", kind, version, d.why)
		}
	}
}

// TestTracking: T reads a key, somebody does something, and T hears of it or not.
func TestTracking(t *testing.T) {
	steps := [][]string{
		{"SET", "k", "v"}, {"SET", "k", "v"}, {"SET", "k", "v", "NX"}, {"SET", "k", "v", "XX"}, {"DEL", "k"}, {"DEL", "k"},
		{"SET", "k", "v", "XX"},
		{"SET", "k", "v", "NX"}, {"APPEND", "k", "x"}, {"PEXPIRE", "k", "100000"}, {"PERSIST", "k"}, {"GETEX", "k"}, {"GETEX",
			"k", "PX", "100000"},
		{"GET", "k"}, {"EXISTS", "k"}, {"PTTL", "k"}, {"TYPE", "k"}, {"RENAME", "k", "k2"}, {"RENAME", "k2", "k"}, {"UNLINK",
			"k"}, {"EXPIRE", "k", "5"},
		{"MSET", "k", "1", "other", "2"}, {"DEL", "other", "k", "none"}, {"LPUSH", "k", "a"}, {"LPOP", "k"}, {"SETNX", "k",
			"v"}, {"SETNX", "k", "v"},
		{"EVAL", "redis.call('SET', KEYS[1], 'x') redis.call('SET', KEYS[1], 'y') return 1", "1", "k"},
		{"EVAL", "return redis.call('GET', KEYS[1])", "1", "k"},
		{"EVAL", "return redis.call('DEL', KEYS[1])", "1", "k"},
		{"EVAL", "return redis.call('DEL', KEYS[1])", "1", "k"},
		{"EVAL", "redis.call('SET', KEYS[1], '') redis.call('DEL', KEYS[1]) return 1", "1", "k"},
		{"SET", "unread", "v"}, {"COPY", "unread", "k"}, {"FLUSHALL"}, {"FLUSHALL"}, {"SET", "k", "v"}, {"FLUSHDB"},
	}
	same(t, func(t *testing.T, s server) (out []string) {
		tr, w := dial(t, s.addr, true), dial(t, s.addr, false)
		for _, step := range steps {
			tr.do("GET", "k")
			tr.do("EXISTS", "k2")
			reply := w.do(step...)
			heard := tr.pushed()
			again := ""
			if len(step) > 1 { // one-shot: the same once more is not told, since nobody has read since
				w.do("SET", "k", "again")
				again = tr.pushed()
			}
			out = append(out, fmt.Sprintf("%v: %s; heard %s; then %s", step, reply, heard, again))
			if step[0] == "SET" || step[0] == "DEL" {
				continue
			}
			w.do("DEL", "k")
			if step[0] == "DEL" {
				w.do("SET", "k", "v")
			}
			tr.pushed()
		}
		return out
	})
}

// TestOwnWrites: without NOLOOP a connection hears of its own changes, after its reply.
func TestOwnWrites(t *testing.T) {
	same(t, func(t *testing.T, s server) (out []string) {
		tr := dial(t, s.addr, true)
		note := func(args ...string) {
			tr.send(args...)
			tr.send("PING")
			var frames []string
			for f := ""; f != "+PONG"; {
				f = tr.frame()
				frames = append(frames, f)
			}
			out = append(out, fmt.Sprintf("%v: %s", args, strings.Join(frames, " ")))
		}
		for range 2 {
			note("GET", "k")
			note("SET", "k", "v")
			note("SET", "k", "v")
			note("GET", "k")
			note("DEL", "k")
			note("EVAL", "redis.call('SET', KEYS[1], 'x') return redis.call('GET', KEYS[1])", "1", "k")
			note("SET", "k", "v") // the script has read it: tracked again
			note("GETEX", "k")
			note("SET", "k", "v")
			note("FLUSHALL")
		}
		return out
	})
}

// TestReplies: what the scripts and the cache rely on.
func TestReplies(t *testing.T) {
	same(t, func(t *testing.T, s server) (out []string) {
		c := dial(t, s.addr, false)
		for _, cmd := range [][]string{
			{"SET", "s", "v", "PX", "100000"}, {"GET", "s"}, {"GET", "none"}, {"LPUSH", "l", "x"}, {"GET", "l"}, {"GETEX", "s"},
			{"GETEX", "none"}, {"GETEX", "l"},
			{"MGET", "s", "l", "none"}, {"PTTL", "l"}, {"PTTL", "none"}, {"PEXPIRE", "s", "1000"}, {"PEXPIRE", "none", "1000"},
			{"EXISTS", "s"},
			{"EVAL", "local v = redis.pcall('GET', KEYS[1]) return type(v)", "1", "l"},
			{"EVAL", "return redis.call('GET', KEYS[1]) == false", "1", "none"},
			{"EVAL", "return {1, 'two', redis.call('PTTL', KEYS[1])}", "1", "l"},
			{"EVAL", "return string.byte('\\0\\255', 2) + #ARGV[1]", "0", "a\x00b\r\n"},
			{"EVAL", "return tonumber(ARGV[1]) + 0.9", "0", "41"},
			{"EVAL", "redis.call('SET', KEYS[1], 'x', 'PX', math.max(5000, tonumber(ARGV[1]))) " +
				"return redis.call('PTTL', KEYS[1]) > 4000", "1", "m", "10000"},
			{"EVALSHA", "ffffffffffffffffffffffffffffffffffffffff", "0"}, {"CLUSTER", "SLOTS"}, {"NOSUCHCOMMAND"}, {"GET"},
			{"CLIENT", "SETNAME", "n"}, {"CLIENT", "GETNAME"}, {"CLIENT", "TRACKING", "OFF"},
		} {
			out = append(out, fmt.Sprintf("%q: %s", cmd, c.do(cmd...)))
		}
		return out
	})
}

// TestExpiry: a key that expires is pushed, in its time.
func TestExpiry(t *testing.T) {
	same(t, func(t *testing.T, s server) (out []string) {
		tr, w := dial(t, s.addr, true), dial(t, s.addr, false)
		w.do("SET", "k", "v", "PX", "50")
		tr.do("GET", "k")
		out = append(out, tr.frame(), tr.do("GET", "k")) // waits for the push
		return out
	})
}

// TestFullTable: a table of 3 keys forgets, and says so: every key that was read is pushed, sooner or later.
func TestFullTable(t *testing.T) {
	same(t, func(t *testing.T, s server) (out []string) {
		s.setMax(3)
		tr, w := dial(t, s.addr, true), dial(t, s.addr, false)
		heard := map[string]bool{}
		note := func(f string) {
			for _, part := range strings.Fields(strings.NewReplacer("[", " ", "]", " ", ">", " ", "*", " ").Replace(f)) {
				if strings.HasPrefix(part, `"key`) {
					heard[part] = true
				}
			}
		}
		for i := range 20 {
			note(tr.do("GET", fmt.Sprint("key", i)))
		}
		note(tr.pushed())
		for range 20 { // the real one evicts a few keys at a time, in its own time
			note(tr.pushed())
		}
		for i := range 20 {
			w.do("SET", fmt.Sprint("key", i), "v")
		}
		note(tr.pushed())
		return append(out, fmt.Sprint(len(heard), " of 20 keys were heard of"))
	})
}
