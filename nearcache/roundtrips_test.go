package nearcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/redis/rueidis"
)

// countingConn counts requests: rueidis sends each pipeline with one write. The greeting of a
// further connection, and the PING with which it looks after a silent one, belong to no read.
type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, []byte("*2\r\n$5\r\nHELLO")) && string(b) != "*1\r\n$4\r\nPING\r\n" {
		c.n.Add(1)
	}
	return c.Conn.Write(b)
}

func TestRoundTrips(t *testing.T) {
	p := servicestest.StartRedis(t)
	var n atomic.Int64
	opt := rueidis.ClientOption{InitAddress: []string{p.Addr},
		DialCtxFn: func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			c, err := d.DialContext(ctx, "tcp", addr)
			return countingConn{c, &n}, err
		}}
	src := newSource()
	open := func() *nearcache.Cache[string, string] {
		client := newClient(t, nearcache.Config{Redis: opt, Heartbeat: 1 << 40}) // one heartbeat, at the start
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the server has been tried", func() bool { return len(client.Status().Servers) > 0 })
		return newCache(t, client, nearcache.Options[string, string]{Load: src.load,
			LoadMany: func(ctx context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
				m := map[string]nearcache.Entry[string]{}
				for _, k := range ks {
					m[k], _ = src.load(ctx, k)
				}
				return m, nil
			}})
	}
	c, other := open(), open() // the other has no fill of its own to wait for
	var hundred []string
	for i := range 100 {
		k := string(rune('A' + i))
		src.put(k, "v")
		hundred = append(hundred, k)
	}
	src.put("a", "v")
	src.put("warm", "v")
	get(t, c, "warm") // the server has the scripts
	set, apply := map[string]nearcache.Entry[string]{}, map[string]nearcache.Version{}
	for _, k := range hundred {
		set[k], apply[k] = nearcache.Entry[string]{Value: "w", Version: 2}, 2
	}
	if err := c.SetMany(t.Context(), map[string]nearcache.Entry[string]{"warm": {Version: 2}, "other": {}}); err != nil {
		t.Fatal(err)
	}
	filled := func() {
		testkit.Eventually(t, "every fill is done", func() bool { // a reader has its value before its fill
			return p.Do("EVAL", "return #redis.call('KEYS', ARGV[1])", "0", "*:l:*") == "0"
		})
	}
	filled()
	cost := func(f func()) int64 {
		before := n.Load()
		f()
		filled()
		return n.Load() - before
	}
	for _, step := range []struct {
		what string
		f    func()
		most int64
	}{
		{"a miss: GET, acquire, fill", func() { get(t, c, "a") }, 3},
		{"a hit in L2: GET", func() { get(t, other, "a") }, 1},
		{"100 misses at once: GETs, acquires, fills", func() { _, _ = c.GetMany(t.Context(), hundred) }, 3},
		{"100 hits in L2 at once", func() { _, _ = other.GetMany(t.Context(), hundred) }, 1},
		{"100 sets at once", func() { _ = c.SetMany(t.Context(), set) }, 1},
		{"100 invalidations at once", func() { _ = c.InvalidateMany(t.Context(), apply) }, 1},
	} {
		if got := cost(step.f); got == 0 || got > step.most {
			t.Errorf("%s: %d round trips, want at most %d", step.what, got, step.most)
		}
	}
	resident(t, c, "a")
	if got := cost(func() { get(t, c, "a") }); got != 0 {
		t.Errorf("a hit in L1: %d round trips", got)
	}
}
