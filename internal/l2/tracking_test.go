package l2_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

func TestTracking_EveryForeignChangeIsHeard(t *testing.T) {
	onBoth(t, func(b *bench) {
		key := b.k.Record
		for _, cmds := range [][][]string{{{"SET", key, "x"}}, {{"DEL", key}},
			{{"PEXPIRE", key, "30"}}, {{"APPEND", key, "x"}},
			{{"RENAME", key, key + "2"}}, {{"EVAL", "redis.call('SET', KEYS[1], 'y')", "1", key}}} {
			b.do("DEL", key)
			b.do("SET", key, "x")
			if _, _, err := b.Get(ctx(), b.k, l2.ReadOptions{}); err != nil {
				t.Fatal(err)
			}
			before := b.ear.heard(b.k)
			for _, c := range cmds {
				b.do(c...)
			}
			testkit.Eventually(t, fmt.Sprint(cmds, " is heard"), func() bool { return b.ear.heard(b.k) > before })
		}
		b.do("DEL", key)
		b.track() // a miss is tracked too
		before := b.ear.heard(b.k)
		b.do("SET", key, "x")
		testkit.Eventually(t, "the birth of a key that was missed", func() bool { return b.ear.heard(b.k) > before })
		sessions := b.ear.sessionCount()
		b.track()
		b.do("FLUSHALL")
		testkit.Eventually(t, "FLUSHALL ends the session", func() bool { return b.ear.sessionCount() > sessions })
		// An own fill is heard as well: the tracking connection does not write, so Redis has no reason to keep it back.
		before = b.ear.heard(b.k)
		b.track()
		b.fill(b.lease(), 1)
		testkit.Eventually(t, "an own fill", func() bool { return b.ear.heard(b.k) > before })
		// Whatever ends a lease wakes those that have read it.
		for what, end := range map[string]func(l2.Lease) error{
			"given back":           func(l l2.Lease) error { return b.Release(ctx(), b.k, l.ID) },
			"dropped by a version": func(l2.Lease) error { return b.Apply(ctx(), b.k, 7) },
			"replaced by an intent": func(l2.Lease) error {
				_, err := b.PlaceIntent(ctx(), b.k, l2.NewLeaseID(), time.Second)
				return err
			},
			"deleted": func(l2.Lease) error { b.do("DEL", b.k.Lease); return nil },
			"of a fill that is refused": func(l l2.Lease) error {
				_, err := b.Fill(ctx(), b.k, l.ID, l2.Incarnation{9}, l2.Record{}, time.Minute)
				return err
			},
		} {
			b.do("DEL", b.k.Record, b.k.Lease)
			l := b.lease()
			if _, _, err := b.Get(ctx(), b.k, l2.ReadOptions{Lease: true}); err != nil {
				t.Fatal(err)
			}
			before := b.ear.heardHash(b.k.LeaseHash())
			if err := end(l); err != nil {
				t.Fatal(what, err)
			}
			testkit.Eventually(t, "a lease "+what, func() bool { return b.ear.heardHash(b.k.LeaseHash()) > before })
		}
	})
}

func TestTracking_WatermarksAreNotTracked(t *testing.T) {
	onBoth(t, func(b *bench) {
		if _, err := b.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets)); err != nil {
			t.Fatal(err)
		}
		watermark := l2.Key{Hash: l2.HashRecord(b.Keyspace().Watermark(b.k.Bucket))}
		to := coherence.Position{Timeline: 1, N: 1}
		if _, err := b.ResetWatermark(ctx(), b.k.Bucket, l2.Watermark{}, to); err != nil {
			t.Fatal(err)
		}
		b.track()
		b.do("SET", b.k.Record, "x")
		testkit.Eventually(t, "the record's change", func() bool { return b.ear.heard(b.k) > 0 })
		if b.ear.heard(watermark) != 0 {
			t.Error("moving a watermark is pushed to everybody who has read it")
		}
	})
}

// fillMany stores n keys, without reading any.
func (b *bench) fillMany(n int) (ks []l2.Key) {
	b.t.Helper()
	for i := range n {
		k := b.Keyspace().Key("n", fmt.Sprint(i))
		l, err := b.Acquire(ctx(), k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
		if err != nil {
			b.t.Fatal(err)
		}
		if r, err := b.Fill(ctx(), k, l.ID, l.Incarnation, l2.Record{Version: 1}, time.Minute); r != l2.Filled || err != nil {
			b.t.Fatal(r, err)
		}
		ks = append(ks, k)
	}
	return ks
}

// read reads the keys on the tracking connection, which sends nothing else meanwhile: whatever makes room for them does
// so in its own commands.
func (b *bench) read(ks []l2.Key) {
	b.t.Helper()
	for _, k := range ks {
		if _, _, err := b.Get(ctx(), k, l2.ReadOptions{}); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) wantHeard(ks []l2.Key) {
	b.t.Helper()
	testkit.Eventually(b.t, "every key that was read is heard of", func() bool {
		for _, k := range ks {
			if b.ear.heard(k) == 0 {
				return false
			}
		}
		return true
	})
}

// Under NOLOOP Redis keeps back what it evicts in a command of the connection that tracks it, be it from the tracking
// table or from memory. The two tests that follow evict in its own GETs.

func TestTracking_FullTableInOwnCommands(t *testing.T) { // R9, the NOLOOP trap
	p := servicestest.StartRedis(t, "--tracking-table-max-keys", "10")
	b := newBench(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do)
	ks := b.fillMany(200)
	b.read(ks)
	for _, k := range ks {
		b.do("SET", k.Record, "x")
	}
	b.wantHeard(ks)
}

func TestTracking_MaxmemoryInOwnCommands(t *testing.T) { // R9, the NOLOOP trap
	p := servicestest.StartRedis(t, "--maxmemory-policy", "noeviction")
	b := newBench(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do)
	ks := b.fillMany(100)
	b.read(ks)
	b.do("CONFIG", "SET", "maxmemory", "1")                     // writes are refused from now on, and nothing is evicted
	b.do("CONFIG", "SET", "maxmemory-policy", "allkeys-random") // whatever command comes next evicts
	b.read(ks[:1])
	b.wantHeard(ks)
}

func TestConnection_LostAndFound(t *testing.T) {
	p := servicestest.StartRedis(t)
	p.Kill()
	b := &bench{}
	e := &ear{}
	store, err := l2.Open(l2.Config{Redis: rueidis.ClientOption{InitAddress: []string{p.Addr}}, Tracker: e})
	if err != nil {
		t.Fatalf("with Redis down: %v", err)
	}
	defer store.Close()
	b.k = store.Keyspace().Key("n", "k")
	if _, _, err := store.Get(ctx(), b.k, l2.ReadOptions{Watermark: true}); !errors.Is(err,
		l2.ErrUnavailable) || store.Up() {
		t.Errorf("with Redis down: %v", err)
	}
	p.Restart()
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		testkit.Eventually(t, "a record is read", func() bool {
			_, _, err := store.Get(ctx(), b.k, l2.ReadOptions{Watermark: true})
			return err == nil
		})
		before := e.sessionCount()
		p.Kill()
		testkit.Eventually(t, "the loss is noticed", func() bool {
			_, err := store.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets))
			return err != nil && !store.Up()
		})
		p.Restart()
		testkit.Eventually(t, "it is found again", func() bool {
			_, _, err := store.Get(ctx(), b.k, l2.ReadOptions{Watermark: true})
			return err == nil
		})
		if e.sessionCount() <= before {
			t.Error("a reply came over a new connection before the session changed")
		}
	}
	if sessions := e.sessionCount(); strings.Contains(p.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), "ERR") {
		t.Error("CLIENT KILL is refused")
	} else {
		testkit.Eventually(t, "CLIENT KILL", func() bool {
			_, _ = store.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets)) // it finds the connection gone
			return e.sessionCount() > sessions
		})
	}
}

func TestOptions_ThatBelongToTheNearCache(t *testing.T) {
	for name, opt := range map[string]rueidis.ClientOption{
		"OnInvalidations":       {OnInvalidations: func([]rueidis.RedisMessage) {}},
		"ClientTrackingOptions": {ClientTrackingOptions: []string{"NOLOOP"}},
		"DisableCache":          {DisableCache: true},
		"PipelineMultiplex":     {PipelineMultiplex: 2},
		"AlwaysRESP2":           {AlwaysRESP2: true},
	} {
		opt.InitAddress = []string{"127.0.0.1:1"}
		if _, err := l2.Open(l2.Config{Redis: opt, Tracker: &ear{}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("option %s: got error %v, want one that names it", name, err)
		}
	}
	if _, err := l2.Open(l2.Config{Redis: rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, Prefix: "a{b",
		Tracker: &ear{}}); err == nil {
		t.Error("a prefix with a brace")
	}
}
