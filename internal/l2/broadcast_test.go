package l2_test

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// What broadcast tracking (BCAST) would do, on a real Redis: the grounds of decision 29.

// listener is a raw connection of RESP3 that tracks. rueidis does not show the order of pushes and replies.
type listener struct {
	t    *testing.T
	conn net.Conn
	read []byte
}

func listen(t *testing.T, addr string, tracking ...string) *listener {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l := &listener{t: t, conn: conn}
	l.send("HELLO", "3")
	l.send(append([]string{"CLIENT", "TRACKING", "ON"}, tracking...)...)
	l.ping()
	l.read = nil
	return l
}

func (l *listener) send(args ...string) {
	l.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := l.conn.Write(b.Bytes()); err != nil {
		l.t.Fatal(err)
	}
}

// until reads until everything wanted has arrived.
func (l *listener) until(wanted ...string) {
	l.t.Helper()
	if err := l.conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		l.t.Fatal(err)
	}
	part := make([]byte, 1<<16)
	for {
		missing := false
		for _, w := range wanted {
			missing = missing || !bytes.Contains(l.read, []byte(w))
		}
		if !missing {
			return
		}
		n, err := l.conn.Read(part)
		if err != nil {
			l.t.Fatalf("%v; want %q, and have %q", err, wanted, l.read)
		}
		l.read = append(l.read, part[:n]...)
	}
}

// ping has everything arrive that Redis has sent.
func (l *listener) ping() {
	l.t.Helper()
	l.send("PING", "everything arrived")
	l.until("everything arrived")
}

// TestBroadcast_APushComesAfterAReply: with BCAST Redis keeps its pushes back until it has answered all commands that
// it found waiting. A reply that was made after a change may then arrive before the push of that change. The proof by
// watermarks needs the opposite, which tracking by keys gives.
func TestBroadcast_APushComesAfterAReply(t *testing.T) {
	p := servicestest.StartRedis(t)
	const script = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1]) return 'applied'"
	// overtakes reports whether the reply came first; seen says that it was made after the change at all.
	overtakes := func(mark string, tracking ...string) (first, seen bool) {
		l, relay := listen(t, p.Addr, tracking...), listen(t, p.Addr)
		l.send("GET", "nc:{0}:v:n:k")
		l.ping()
		l.read = nil
		p.Pause() // so that both commands wait when it looks
		relay.send("EVAL", script, "2", "nc:{0}:v:n:k", "nc:{0}:w", mark)
		l.send("GETEX", "nc:{0}:w")
		l.send("PING", "answered")
		p.Resume()
		relay.until("applied")
		l.until("answered", "invalidate")
		reply, push := bytes.Index(l.read, []byte(mark)), bytes.Index(l.read, []byte("invalidate"))
		return reply < push, reply >= 0
	}
	overtaken, answered := 0, 0
	for i := range 20 {
		first, seen := overtakes(fmt.Sprint("by key ", i))
		if first && seen {
			t.Fatal("tracking by keys: a reply came before the push of an earlier change")
		}
		if first, seen = overtakes(fmt.Sprint("broadcast ", i), "BCAST", "PREFIX", "nc:{0}:v:"); seen {
			answered++
			if first {
				overtaken++
			}
		}
	}
	if overtaken == 0 {
		t.Errorf("BCAST: none of %d replies came before the push of an earlier change; decision 29 is wrong",
			answered)
	}
	t.Logf("BCAST: %d of %d replies came before the push of an earlier change", overtaken, answered)
}

// TestBroadcast_EveryInstanceHearsEveryFill: with BCAST each record that anybody fills is pushed to every instance.
// With tracking by keys nobody hears of a fill of a key that is read for the first time.
func TestBroadcast_EveryInstanceHearsEveryFill(t *testing.T) {
	const instances, fills = 8, 200
	p := servicestest.StartRedis(t)
	b := newBench(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do)
	heard := func(tracking ...string) (pushed, size int) {
		var all []*listener
		for range instances {
			all = append(all, listen(t, p.Addr, tracking...))
		}
		for i := range fills {
			b.k = b.Keyspace().Key("n", fmt.Sprint(len(tracking), "-", i))
			b.fill(b.lease(), 1)
		}
		for _, l := range all {
			l.ping()
			pushed, size = pushed+strings.Count(string(l.read), ":v:n:"), size+len(l.read)
			_ = l.conn.Close()
		}
		return pushed, size
	}
	prefixes := []string{"BCAST"}
	for bucket := range 64 {
		prefixes = append(prefixes, "PREFIX", fmt.Sprintf("nc:{%d}:v:", bucket))
	}
	broadcast, size := heard(prefixes...)
	byKey, _ := heard()
	if broadcast != instances*fills || byKey != 0 {
		t.Errorf("%d fills, %d instances: got %d pushed keys with BCAST and %d without, want %d and 0",
			fills, instances, broadcast, byKey, instances*fills)
	}
	t.Logf("%d fills, %d instances: %d pushed keys with BCAST (%d bytes each), %d without",
		fills, instances, broadcast, size/max(broadcast, 1), byKey)
}
