package l2_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// onBothUntracked runs a test on the fake Redis and on a real one, over RESP2 and without a tracker.
func onBothUntracked(t *testing.T, test func(b *bench)) {
	t.Helper()
	testkit.OnBothRedisAs(t, l2.Use{Untracked: true}, func(t *testing.T, r testkit.Redis) {
		r.Option.AlwaysRESP2 = true
		store, err := l2.Open(l2.Config{Redis: r.Option})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		if err := store.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(&bench{L2: store, t: t, do: r.Do, k: store.Keyspace().Key("n", "k")})
	})
}

// strict is a proxy that closes the connection when it sees a command that it does not know.
type strict struct{ net.Conn }

func (c strict) Write(p []byte) (int, error) {
	for _, unknown := range []string{"HELLO", "CLIENT", "CLUSTER", "GETEX"} {
		if bytes.Contains(p, []byte(unknown)) {
			_ = c.Close()
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(p)
}

func TestUntracked_ThroughAProxyThatClosesOnWhatItDoesNotKnow(t *testing.T) {
	testkit.OnBothRedisAs(t, l2.Use{Untracked: true}, func(t *testing.T, r testkit.Redis) {
		r.Option.AlwaysRESP2, r.Option.ForceSingleClient = true, true
		r.Option.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			conn, err := d.DialContext(ctx, "tcp", addr)
			return strict{conn}, err
		}
		store, err := l2.Open(l2.Config{Redis: r.Option})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		b := &bench{L2: store, t: t, do: r.Do, k: store.Keyspace().Key("n", "k")}
		b.store(3)
		if raw, _, err := b.Get(ctx(), b.k, l2.ReadOptions{}); raw == nil || err != nil {
			t.Errorf("got %q and error %v, want the record", raw, err)
		}
		if err := b.Beat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
			t.Errorf("the heartbeat: %v", err)
		}
	})
}

// hangsUp is such a proxy as its client sees it: what was written is gone, and the connection ends.
type hangsUp struct {
	net.Conn
	gone atomic.Bool
}

func (c *hangsUp) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("HELLO")) {
		c.gone.Store(true)
		_ = c.Close()
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *hangsUp) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.gone.Load() {
		return 0, io.EOF
	}
	return n, err
}

// With tracking such a proxy looks as a Redis that does not answer. What is said of it names the way out.
func TestUntracked_IsNamedBehindAProxyThatClosesOnWhatItDoesNotKnow(t *testing.T) {
	testkit.OnBothRedisAs(t, l2.Use{Untracked: true}, func(t *testing.T, r testkit.Redis) {
		r.Option.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			conn, err := d.DialContext(ctx, "tcp", addr)
			return &hangsUp{Conn: conn}, err
		}
		store, err := l2.Open(l2.Config{Redis: r.Option, Tracker: &ear{}})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		f := store.Faults()
		if len(f) != 1 || !strings.Contains(f[0].Advice, "TrackingOff") ||
			!strings.Contains(f[0].Advice, "ForceSingleClient") {
			t.Errorf("got the faults %v, want one that names TrackingOff and ForceSingleClient", codes(store))
		}
	})
}

// A read brings the record and the watermark of its bucket, whether or not the watermark was asked for.
func TestUntracked_ReadsTheWatermarkWithTheRecord(t *testing.T) {
	onBothUntracked(t, func(b *bench) {
		raw, w, err := b.Get(ctx(), b.k, l2.ReadOptions{})
		if raw != nil || !w.IsZero() || err != nil {
			t.Errorf("before anything: got %q, %v and error %v, want nothing", raw, w, err)
		}
		mark, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, coherence.Position{Timeline: 1, N: 7})
		if err != nil {
			t.Fatal(err)
		}
		b.store(3)
		other := b.Keyspace().Key("n", "other")
		all := b.GetMany(ctx(), []l2.Key{b.k, other}, l2.ReadOptions{})
		raw, w, err = b.Get(ctx(), b.k, l2.ReadOptions{})
		if rec, e := l2.DecodeRecord(raw); e != nil || rec.Version != 3 || w != mark || err != nil {
			t.Errorf("got version %d, %v and error %v, want version 3 and %v", rec.Version, w, errors.Join(e, err), mark)
		}
		if string(all[0].Raw) != string(raw) || all[0].Watermark != mark || all[0].Err != nil {
			t.Errorf("of several: got %+v, want the same", all[0])
		}
		if all[1].Raw != nil || all[1].Err != nil {
			t.Errorf("an absent key: got %+v, want no record", all[1])
		}
	})
}

// In a Cluster the rights are the documented ones without those of tracking.
func TestUntracked_InACluster(t *testing.T) {
	nodes := servicestest.StartCluster(t, 3)
	opt := testkit.Least(l2.Use{Untracked: true, Cluster: true}, nodes...)
	opt.AlwaysRESP2 = true
	store, err := l2.Open(l2.Config{Redis: opt})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var ks []l2.Key
	b := &bench{L2: store, t: t}
	for i := range 100 {
		b.k = store.Keyspace().Key("n", strconv.Itoa(i))
		b.store(3)
		ks = append(ks, b.k)
	}
	for i, got := range store.GetMany(ctx(), ks, l2.ReadOptions{}) {
		if got.Raw == nil || got.Err != nil {
			t.Errorf("key %d: got %q and error %v, want the record", i, got.Raw, got.Err)
		}
	}
	if err := store.Beat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
		t.Errorf("the heartbeat: %v", err)
	}
	scripts := func() (calls [3]int) {
		for i, node := range nodes {
			_, stats, _ := strings.Cut(node.Do("INFO", "commandstats"), "cmdstat_evalsha:calls=")
			n, _, _ := strings.Cut(stats, ",")
			calls[i], _ = strconv.Atoi(n)
		}
		return calls
	}
	before := scripts()
	if err := store.Beat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
		t.Errorf("the heartbeat: %v", err)
	}
	for i, n := range scripts() {
		if before[i] == 0 || n != before[i]+1 {
			t.Errorf("node %d: %d scripts for one heartbeat after %d, want one", i, n-before[i], before[i])
		}
	}
	nodes[1].Kill()
	if err := store.Beat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err == nil {
		t.Error("the heartbeat does not notice that a node is gone")
	}
}

func TestUntracked_AKeyOfAnotherType(t *testing.T) {
	onBothUntracked(t, func(b *bench) {
		b.do("LPUSH", b.k.Record, "x")
		if _, _, err := b.Get(ctx(), b.k, l2.ReadOptions{}); !errors.Is(err, l2.ErrWrongType) {
			t.Errorf("got error %v, want ErrWrongType", err)
		}
		if got := b.GetMany(ctx(), []l2.Key{b.k}, l2.ReadOptions{}); !errors.Is(got[0].Err, l2.ErrWrongType) {
			t.Errorf("of several: got error %v, want ErrWrongType", got[0].Err)
		}
	})
}

// The heartbeat is refused by a replica, which would go on to answer reads.
func TestUntracked_BeatIsRefusedByAReplica(t *testing.T) {
	testkit.OnBothRedisAs(t, l2.Use{Untracked: true}, func(t *testing.T, r testkit.Redis) {
		store, err := l2.Open(l2.Config{Redis: r.Option})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if err := store.Beat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
			t.Fatalf("a primary: %v", err)
		}
		if got := r.Do("REPLICAOF", "127.0.0.1", "1"); got[0] == '-' {
			t.Skip("the fake has no replicas")
		}
		err = store.Beat(ctx(), l2.AllBuckets(l2.DefaultBuckets))
		if f := store.Faults(); !errors.Is(err, l2.ErrUnavailable) || len(f) != 1 || f[0].Code != "redis_read_only" {
			t.Errorf("a replica: got error %v and the faults %v, want redis_read_only", err, f)
		}
	})
}
