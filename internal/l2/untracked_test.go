package l2_test

import (
	"errors"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// onBothUntracked runs a test on the fake Redis and on a real one, over RESP2 and without a tracker.
func onBothUntracked(t *testing.T, test func(b *bench)) {
	t.Helper()
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
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
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		store, err := l2.Open(l2.Config{Redis: r.Option})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if err := store.Beat(ctx()); err != nil {
			t.Fatalf("a primary: %v", err)
		}
		if got := r.Do("REPLICAOF", "127.0.0.1", "1"); got[0] == '-' {
			t.Skip("the fake has no replicas")
		}
		err = store.Beat(ctx())
		if f := store.Faults(); !errors.Is(err, l2.ErrUnavailable) || len(f) != 1 || f[0].Code != "redis_read_only" {
			t.Errorf("a replica: got error %v and the faults %v, want redis_read_only", err, f)
		}
	})
}
