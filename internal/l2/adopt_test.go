package l2_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// alone is a bench whose L2 has no relay.
func alone(t *testing.T, r testkit.Redis) *bench {
	t.Helper()
	e := &ear{}
	store, err := l2.Open(l2.Config{Redis: r.Option, Tracker: e, Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{L2: store, t: t, ear: e, do: r.Do, k: store.Keyspace().Key("n", "k")}
}

// adopt reads the key with its watermark, as the first load of a session does.
func (b *bench) adopt() (found bool, w l2.Watermark) {
	b.t.Helper()
	raw, w, err := b.Get(ctx(), b.k, l2.ReadOptions{Watermark: true})
	if err != nil {
		b.t.Fatal(err)
	}
	if w.Incarnation == (l2.Incarnation{}) {
		b.t.Fatal("the bucket has no incarnation")
	}
	if raw == nil {
		return false, w
	}
	rec, err := l2.DecodeRecord(raw)
	if err != nil {
		b.t.Fatal(err)
	}
	return rec.Incarnation == w.Incarnation, w
}

// A record counts while the server's history stands, for whoever asks, and never after that.
func TestAdopt_AnotherHistoryVoidsTheRecords(t *testing.T) { // C2
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		b, other := alone(t, r), alone(t, r)
		_, first := b.adopt()
		b.fill(b.lease(), 1)
		for _, b := range []*bench{b, other} {
			if found, w := b.adopt(); !found || w != first {
				t.Fatalf("got the watermark %v and the record %v, want %v and a record", w, found, first)
			}
		}
		pending := alone(t, r)
		lease := pending.leaseOfAnother(t)
		r.Do("DEBUG", "CHANGE-REPL-ID")
		found, second := b.adopt()
		if found || second.Incarnation == first.Incarnation {
			t.Errorf("a record of the history before counts under %v; it was filled under %v", second, first)
		}
		if got := pending.fillKey(lease); got != l2.IncarnationChanged {
			t.Errorf("got %v, want a fill refused whose load began in the history before", got)
		}
		if _, w := other.adopt(); w != second {
			t.Errorf("got %v, want the incarnation that is there, %v", w, second)
		}
		b.fill(b.lease(), 2)
		if found, _ := other.adopt(); !found {
			t.Error("a record of the new history does not count")
		}
	})
}

// leaseOfAnother makes the bench's key another one of the bucket, and acquires its lease.
func (b *bench) leaseOfAnother(t *testing.T) l2.Lease {
	t.Helper()
	for i := range 10_000 {
		k := b.Keyspace().Key("n", string(rune(0x4e00+i)))
		if k.Bucket != b.k.Bucket {
			continue
		}
		lease, err := b.Acquire(ctx(), k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
		if err != nil || lease.Status != l2.Granted {
			t.Fatalf("got %v and error %v, want a lease", lease.Status, err)
		}
		b.k = k
		return lease
	}
	t.Fatal("no other key falls into the bucket")
	return l2.Lease{}
}

func (b *bench) fillKey(lease l2.Lease) l2.FillResult {
	b.t.Helper()
	r, err := b.Fill(ctx(), b.k, lease.ID, lease.Incarnation, l2.Record{Version: 1, Payload: []byte("v")}, time.Minute)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// A heartbeat notices a server whose history is another one behind a connection that stands, in every bucket.
func TestAdopt_HeartbeatNoticesAnotherHistory(t *testing.T) { // C2
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		b := alone(t, r)
		beat := func() (all [l2.DefaultBuckets]l2.Watermark) {
			replies, err := b.Heartbeat(ctx(), l2.AllBuckets(l2.DefaultBuckets))
			if err != nil {
				t.Fatal(err)
			}
			for i, reply := range replies {
				if all[i] = reply.Watermark; !reply.OK || all[i].IsZero() {
					t.Fatalf("bucket %d: got %+v, want a watermark", i, reply)
				}
			}
			return all
		}
		first := beat()
		if again := beat(); again != first {
			t.Fatal("an incarnation began although nothing happened")
		}
		r.Do("DEBUG", "CHANGE-REPL-ID")
		for i, w := range beat() {
			if w.Incarnation == first[i].Incarnation {
				t.Errorf("bucket %d has the incarnation of the history before", i)
			}
		}
	})
}

// A bucket that is started again for another reason stays one of its history.
func TestAdopt_ResetStaysInTheHistory(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		b := alone(t, r)
		_, w := b.adopt()
		now, err := b.ResetWatermark(ctx(), b.k.Bucket, w, w.Position)
		if err != nil || now.Incarnation == w.Incarnation {
			t.Fatalf("got %v and error %v, want another incarnation than %v", now, err, w)
		}
		if _, again := b.adopt(); again != now {
			t.Errorf("got %v, want the incarnation of the reset, %v", again, now)
		}
	})
}

// What is no watermark is replaced, and a replica adopts nothing.
func TestAdopt_GarbageAndReplica(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		b := alone(t, r)
		mark := b.Keyspace().Watermark(b.k.Bucket)
		for _, garbage := range [][]string{{"SET", mark, "short"}, {"RPUSH", mark, "a list"}} {
			r.Do("DEL", mark)
			r.Do(garbage...)
			if _, w := b.adopt(); w.Position != (coherence.Position{}) {
				t.Errorf("%v: got %v, want a watermark at no position", garbage, w)
			}
		}
	})
	r := servicestest.StartRedis(t)
	b := alone(t, testkit.Redis{Option: rueidis.ClientOption{InitAddress: []string{r.Addr}}, Do: r.Do})
	b.adopt()
	r.Do("REPLICAOF", "127.0.0.1", "1")
	_, _, err := b.Get(ctx(), b.k, l2.ReadOptions{Watermark: true})
	if err == nil || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("got error %v, want that of a replica", err)
	}
}

// Without the right to INFO a client cannot tell a promotion, and says so at the start.
func TestAdopt_NeedsTheRightToInfo(t *testing.T) {
	r := servicestest.StartRedis(t)
	r.Do(leastRights(l2.Use{Alone: true})...)
	cfg := l2.Config{Redis: rueidis.ClientOption{InitAddress: []string{r.Addr}, Username: "app", Password: "pw"},
		Tracker: &ear{}, Alone: true}
	store, err := l2.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	r.Do("ACL", "SETUSER", "app", "-info")
	if store, err = l2.Open(cfg); err == nil {
		store.Close()
	}
	if !errors.Is(err, coherence.ErrMisconfigured) {
		t.Errorf("got error %v, want a misconfiguration", err)
	}
	cfg.Alone = false
	if store, err = l2.Open(cfg); err != nil {
		t.Fatalf("with a relay: %v", err)
	}
	store.Close()
}

// What was sent to the server before is told to the one that took over.
func TestRecent_IsToldToTheServerThatTookOver(t *testing.T) { // C2
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		all := l2.AllBuckets(l2.DefaultBuckets)
		b := alone(t, r)
		_, first := b.adopt()
		if _, err := b.TellAgain(ctx(), all); err != nil || b.Untold(all) {
			t.Fatalf("untold %v, error %v; want nothing left to tell", b.Untold(all), err)
		}
		if err := b.Apply(ctx(), b.k, 0); err != nil { // acknowledged, and lost with its server
			t.Fatal(err)
		}
		if !b.Telling(b.k.Bucket).Done(first.Incarnation) {
			t.Error("a change is untold in the incarnation that it was sent in")
		}
		r.Do("DEBUG", "CHANGE-REPL-ID")
		_, second := b.adopt()
		b.fill(b.lease(), 1) // another process's, whose load began before the change
		if b.Telling(b.k.Bucket).Done(second.Incarnation) || !b.Untold(all) {
			t.Fatal("the change counts as told to the server that took over")
		}
		if n, err := b.TellAgain(ctx(), all); err != nil || n != 1 {
			t.Fatalf("%d changes were told again, error %v; want the one", n, err)
		}
		if found, _ := b.adopt(); found || !b.Telling(b.k.Bucket).Done(second.Incarnation) || b.Untold(all) {
			t.Error("the change was not told to the server that took over")
		}
	})
}

// A change that is sent before its server is known is told to nobody again, although it is sent once more.
func TestRecent_TheFirstServerTakesNothingOver(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		all := l2.AllBuckets(l2.DefaultBuckets)
		b := alone(t, r)
		if err := b.Apply(ctx(), b.k, 0); err != nil {
			t.Fatal(err)
		}
		b.adopt()
		if !b.Untold(all) {
			t.Fatal("the change counts as told to a server that was not known")
		}
		if n, err := b.TellAgain(ctx(), all); err != nil || n != 0 || b.Untold(all) {
			t.Errorf("%d changes were told again, untold %v, error %v; want none, and all told", n, b.Untold(all), err)
		}
	})
}
