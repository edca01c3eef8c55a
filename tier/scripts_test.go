package tier_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

var _ coherence.Applier = (*tier.L2)(nil)

// ear is a Tracker that remembers.
type ear struct {
	mu       sync.Mutex
	hashes   map[uint64]int
	sessions int
}

func (e *ear) KeysChanged(hashes []uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hashes == nil {
		e.hashes = map[uint64]int{}
	}
	for _, h := range hashes {
		e.hashes[h]++
	}
}

func (e *ear) SessionChanged() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions++
}

func (e *ear) heard(k tier.Key) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hashes[k.Hash]
}

func (e *ear) sessionCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions
}

// bench is an L2 with a way to meddle.
type bench struct {
	*tier.L2
	t   *testing.T
	ear *ear
	do  func(args ...string) string
	k   tier.Key
}

func onBoth(t *testing.T, test func(b *bench)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		e := nearcachetest.NewRedis(t)
		test(newBench(t, e.ClientOption(), func(args ...string) string { return e.Do(args[0], args[1:]...) }))
	})
	t.Run("real", func(t *testing.T) {
		p := servicestest.StartRedis(t)
		test(newBench(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do))
	})
}

func newBench(t *testing.T, opt rueidis.ClientOption, do func(...string) string) *bench {
	t.Helper()
	e := &ear{}
	l2, err := tier.OpenL2(tier.L2Config{Redis: opt, Tracker: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l2.Close)
	if err := l2.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{L2: l2, t: t, ear: e, do: do, k: l2.Keyspace().Key("n", "k")}
}

func ctx() context.Context { return context.Background() }

// lease acquires, and wants to be granted.
func (b *bench) lease() tier.Lease {
	b.t.Helper()
	l, err := b.Acquire(ctx(), b.k, tier.NewToken(), time.Minute, tier.Acquire{})
	if err != nil || l.Status != tier.Granted {
		b.t.Fatalf("acquire: %v, %v", l.Status, err)
	}
	return l
}

func (b *bench) fill(l tier.Lease, v tier.Version) tier.FillResult {
	b.t.Helper()
	r, err := b.Fill(ctx(), b.k, l.Token, l.Epoch, tier.Record{Version: v, Payload: []byte("v")}, time.Minute)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// store fills a version.
func (b *bench) store(v tier.Version) {
	b.t.Helper()
	b.Apply(ctx(), b.k, 0)
	if r := b.fill(b.lease(), v); r != tier.Filled {
		b.t.Fatalf("fill: %v", r)
	}
}

// state is "version", "absent", or why there is no record; and whether there is a lease.
func (b *bench) state() string {
	b.t.Helper()
	raw, _, err := b.Get(ctx(), b.k, false)
	s := "absent"
	switch {
	case errors.Is(err, tier.ErrWrongType):
		s = "wrong type"
	case err != nil:
		b.t.Fatal(err)
	case raw != nil:
		if r, err := tier.DecodeRecord(raw); err != nil {
			s = "foreign"
		} else {
			s = fmt.Sprint("v", r.Version)
		}
	}
	if strings.Contains(b.do("EXISTS", b.k.Lease), "1") {
		s += "+lease"
	}
	return s
}

func (b *bench) want(what, want string) {
	b.t.Helper()
	if got := b.state(); got != want {
		b.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

const big = tier.Version(1 << 53) // beyond, doubles skip numbers

func TestApply_Table(t *testing.T) {
	onBoth(t, func(b *bench) {
		for _, c := range []struct {
			have, apply tier.Version
			want        string
		}{{1, 2, "absent"}, {2, 2, "v2"}, {3, 2, "v3"}, {3, 0, "absent"}, {big, big + 1, "absent"}, {big + 1, big, fmt.Sprint("v", big+1)},
			{1<<63 + 1, 1 << 63, fmt.Sprint("v", uint64(1<<63+1))}, {0, 1, "absent"}, {1<<32 - 1, 1 << 32, "absent"}} {
			b.store(c.have)
			if err := b.Apply(ctx(), b.k, c.apply); err != nil {
				t.Fatal(err)
			}
			b.want(fmt.Sprintf("apply %d over %d", c.apply, c.have), c.want)
		}
		b.Apply(ctx(), b.k, 0)
		b.Apply(ctx(), b.k, 5)
		b.want("apply on an absent key", "absent")
		for name, v := range map[string]string{"empty": "", "foreign": "hello", "nearly": "NC\x01\x00 but no record"} {
			b.do("SET", b.k.Record, v)
			b.Apply(ctx(), b.k, 1)
			b.want("apply over a value that is "+name, "absent")
		}
		b.do("LPUSH", b.k.Record, "x")
		b.want("a list", "wrong type")
		b.Apply(ctx(), b.k, 1)
		b.want("apply over a list", "absent")
	})
}

func TestLateFill_IsRefused(t *testing.T) { // C2, R1
	onBoth(t, func(b *bench) {
		l := b.lease()
		b.Apply(ctx(), b.k, 2) // the key is absent, and its lease goes
		if r := b.fill(l, 1); r != tier.LeaseLost {
			t.Errorf("a fill after the invalidation: %v", r)
		}
		b.want("afterwards", "absent")
		l = b.lease()
		b.do("DEL", b.k.Lease) // Redis evicts the lease: it fails closed (R2)
		if r := b.fill(l, 1); r != tier.LeaseLost {
			t.Errorf("a fill whose lease was evicted: %v", r)
		}
		l = b.lease()
		if r := b.fill(tier.Lease{Token: tier.NewToken()}, 1); r != tier.LeaseLost {
			t.Errorf("a fill of another token: %v", r)
		}
		if r := b.fill(l, 1); r != tier.Filled {
			t.Errorf("the holder's fill: %v", r)
		}
		b.want("filled", "v1")
	})
}

func TestAcquire_Table(t *testing.T) {
	onBoth(t, func(b *bench) {
		status := func(a tier.Acquire) tier.Lease {
			l, err := b.Acquire(ctx(), b.k, tier.NewToken(), time.Minute, a)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		l := b.lease()
		if got := status(tier.Acquire{}); got.Status != tier.Busy || got.Left <= 0 || got.Left > time.Minute {
			t.Errorf("a second lease: %+v", got)
		}
		if held, err := b.Renew(ctx(), b.k, l.Token, time.Hour); !held || err != nil {
			t.Errorf("renew: %v, %v", held, err)
		}
		if got := status(tier.Acquire{}); got.Left < time.Minute {
			t.Errorf("renewed for an hour, %v left", got.Left)
		}
		if held, _ := b.Renew(ctx(), b.k, tier.NewToken(), time.Hour); held {
			t.Error("somebody else's lease was renewed")
		}
		b.fill(l, 1)
		if got := status(tier.Acquire{}); got.Status != tier.Present {
			t.Errorf("with a value: %v", got.Status)
		}
		raw, _, _ := b.Get(ctx(), b.k, false)
		if got := status(tier.Acquire{Unusable: raw[:tier.HeaderSize]}); got.Status != tier.Granted {
			t.Errorf("with a value that cannot be used: %v", got.Status)
		}
		b.do("DEL", b.k.Lease)
		if got := status(tier.Acquire{Schema: 1}); got.Status != tier.Granted {
			t.Errorf("with a value of an older schema: %v", got.Status)
		}
		b.Apply(ctx(), b.k, 0)
		l = b.lease()
		if _, err := b.Fill(ctx(), b.k, l.Token, l.Epoch, tier.Record{Schema: 2}, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := status(tier.Acquire{Schema: 1}); got.Status != tier.Newer {
			t.Errorf("with a value of a newer schema: %v", got.Status)
		}
		b.do("SET", b.k.Record, "NC\x02whatever comes")
		if got := status(tier.Acquire{}); got.Status != tier.Newer {
			t.Errorf("with a newer format: %v", got.Status)
		}
		b.do("SET", b.k.Record, "foreign")
		if got := status(tier.Acquire{}); got.Status != tier.Granted {
			t.Errorf("with foreign bytes: %v", got.Status)
		}
	})
}

func TestSet_Table(t *testing.T) {
	onBoth(t, func(b *bench) {
		set := func(v tier.Version, schema uint32) bool {
			replaced, err := b.Set(ctx(), b.k, tier.Record{Version: v, Schema: schema, Payload: []byte("set")}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return replaced
		}
		if set(5, 0) {
			t.Error("a set gave birth to a value") // C5
		}
		b.want("set on an absent key", "absent")
		l := b.lease()
		set(5, 0)
		b.want("set kills a running load's lease", "absent")
		if b.fill(l, 4) != tier.LeaseLost {
			t.Error("and its fill")
		}
		b.store(5)
		l, _ = b.Acquire(ctx(), b.k, tier.NewToken(), time.Minute, tier.Acquire{Schema: 1}) // a newer build loads
		if !set(6, 0) {
			t.Error("an older value is not replaced")
		}
		b.want("set over an older value", "v6")
		if b.fill(l, 5) != tier.LeaseLost {
			t.Error("set over a value leaves a lease standing, whose load may be older")
		}
		for _, v := range []tier.Version{6, 5} {
			if set(v, 0) {
				t.Errorf("version %d replaced 6", v)
			}
			b.want("set of no newer version", "v6")
		}
		set(0, 0)
		b.want("set without a version", "absent")
		b.store(1)
		set(2, 3)
		b.want("a newer schema replaces", "v2")
		if set(3, 2) {
			t.Error("an older schema replaced a newer one")
		}
		b.want("and only invalidates", "absent")
	})
}

func TestMarks_Overlap(t *testing.T) {
	onBoth(t, func(b *bench) {
		x, y := tier.NewToken(), tier.NewToken()
		b.store(1)
		reader, _ := b.Acquire(ctx(), b.k, tier.NewToken(), time.Minute, tier.Acquire{Schema: 1})
		for _, w := range []tier.Token{x, y} {
			if err := b.Mark(ctx(), b.k, w, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		b.want("marked", "absent+lease")
		if r := b.fill(reader, 1); r != tier.LeaseLost {
			t.Errorf("a reader's fill during a write: %v", r)
		}
		writing := func(want tier.LeaseStatus, when string) {
			t.Helper()
			l, err := b.Acquire(ctx(), b.k, tier.NewToken(), time.Minute, tier.Acquire{})
			if err != nil || l.Status != want {
				t.Errorf("%s: %v, %v", when, l.Status, err)
			}
		}
		writing(tier.Writing, "two writers")
		b.Apply(ctx(), b.k, 0) // the relay's, or anybody's
		writing(tier.Writing, "an invalidation does not lift a writer's mark")
		if err := b.Unmark(ctx(), b.k, x, 2); err != nil {
			t.Fatal(err)
		}
		writing(tier.Writing, "one of two is done")
		b.Unmark(ctx(), b.k, x, 2)
		writing(tier.Writing, "and says so twice")
		b.Unmark(ctx(), b.k, y, 0)
		b.want("both are done", "absent")
		writing(tier.Granted, "both are done")
		b.Unmark(ctx(), b.k, y, 3) // late: its mark had run out, and a reader holds the lease
		b.want("a late end of a write", "absent")
	})
}

func TestEpochAndWatermark(t *testing.T) {
	onBoth(t, func(b *bench) {
		at := func(n uint64) tier.Position { return tier.Position{Epoch: 1 << 63, N: n} }
		batch := func(from tier.Watermark, to tier.Position, changes ...tier.Change) (tier.Watermark, bool) {
			t.Helper()
			now, ok, err := b.ApplyBatch(ctx(), b.k.Bucket, changes, from, to)
			if err != nil {
				t.Fatal(err)
			}
			return now, ok
		}
		v := func(n tier.Version) tier.Change { return tier.Change{Key: b.k, Version: n} }
		if _, ok := batch(tier.Watermark{Epoch: tier.Epoch{1}, Position: at(0)}, at(1), v(1)); ok {
			t.Error("applied without a watermark")
		}
		b.store(1) // before there was a watermark
		l := b.lease2()
		w, err := b.ResetWatermark(ctx(), b.k.Bucket, tier.Watermark{}, at(big2))
		if err != nil || w.Position != at(big2) || w.Epoch == (tier.Epoch{}) {
			t.Fatalf("%+v, %v", w, err)
		}
		if again, err := b.ResetWatermark(ctx(), b.k.Bucket, tier.Watermark{}, at(9)); again != w || err != nil {
			t.Errorf("a second relay resets what stands: %+v", again)
		}
		if r := b.fill(l, 1); r != tier.EpochChanged {
			t.Errorf("a fill that began in the old epoch: %v", r)
		}
		if got := b.lease(); got.Epoch != w.Epoch { // a record of another epoch is not in the way
			t.Errorf("epoch %v", got.Epoch)
		}
		if replaced, _ := b.Set(ctx(), b.k, tier.Record{Version: 9}, time.Minute); replaced {
			t.Error("set replaced a record of another epoch")
		}
		b.store(1)
		raw, seen, err := b.Get(ctx(), b.k, true)
		if rec, e := tier.DecodeRecord(raw); err != nil || e != nil || rec.Epoch != w.Epoch || seen != w {
			t.Errorf("%+v under %+v, %v %v", rec, seen, err, e)
		}
		w1, ok := batch(w, at(big2+1), v(2))
		if !ok || w1.Position != at(big2+1) {
			t.Errorf("%+v, %v", w1, ok)
		}
		b.want("applied", "absent")
		b.store(2)
		if now, ok := batch(w, at(big2), v(2)); !ok || now != w1 { // a zombie's batch: true for ever, and it never moves back
			t.Errorf("a zombie: %+v, %v", now, ok)
		}
		b.want("and harmless", "v2")
		ahead := tier.Watermark{Epoch: w.Epoch, Position: at(big2 + 2)}
		if now, ok := batch(ahead, at(big2+3), v(3)); ok || now != w1 {
			t.Errorf("a batch from beyond the watermark: %+v, %v", now, ok)
		}
		other := tier.Watermark{Epoch: tier.Epoch{5}, Position: w1.Position}
		if _, ok := batch(other, at(big2+3), v(3)); ok {
			t.Error("a batch of another epoch")
		}
		b.want("refused", "v2")
		var many []tier.Change
		for range 1200 {
			many = append(many, v(2))
		}
		if now, ok := batch(w1, at(big2+9), append(many, v(3))...); !ok || now.Position != at(big2+9) {
			t.Errorf("a long batch: %+v, %v", now, ok)
		}
		b.want("the last of a long batch", "absent")
		ws, err := b.Watermarks(ctx())
		if err != nil || ws[b.k.Bucket].Position != at(big2+9) || !ws[(b.k.Bucket+1)%tier.Buckets].IsZero() {
			t.Errorf("%+v, %v", ws[b.k.Bucket], err)
		}
		beats, err := b.Heartbeat(ctx())
		if err != nil {
			t.Fatal(err)
		}
		for i, beat := range beats {
			if !beat.OK || beat.Watermark != ws[i] {
				t.Errorf("heartbeat of bucket %d: %+v", i, beat)
			}
		}
		b.do("SET", b.Keyspace().Watermark(b.k.Bucket), "garbage")
		if _, w, err := b.Get(ctx(), b.k, true); !w.IsZero() || err != nil {
			t.Errorf("garbage for a watermark: %+v, %v", w, err)
		}
	})
}

const big2 = uint64(1 << 53)

// lease2 acquires although there is a value.
func (b *bench) lease2() tier.Lease {
	b.t.Helper()
	l, err := b.Acquire(ctx(), b.k, tier.NewToken(), time.Minute, tier.Acquire{Schema: 1})
	if err != nil || l.Status != tier.Granted {
		b.t.Fatalf("acquire: %v, %v", l.Status, err)
	}
	return l
}

func TestMany_EachKeyItsOwn(t *testing.T) {
	onBoth(t, func(b *bench) {
		var ks []tier.Key
		var asks []tier.Asking
		for i := range 100 {
			ks = append(ks, b.Keyspace().Key("n", fmt.Sprint(i)))
			asks = append(asks, tier.Asking{Key: ks[i]})
		}
		var fills []tier.Filling
		for i, a := range b.AcquireMany(ctx(), asks, time.Minute) {
			if a.Err != nil || a.Lease.Status != tier.Granted {
				t.Fatalf("%d: %+v", i, a)
			}
			fills = append(fills, tier.Filling{Key: ks[i], Token: a.Lease.Token, Epoch: a.Lease.Epoch, Record: tier.Record{Version: tier.Version(i)}, TTL: time.Minute})
		}
		fills[3].Record.Payload = make([]byte, tier.MaxRecordBytes)
		for i, o := range b.FillMany(ctx(), fills) {
			if want := map[bool]tier.FillResult{true: tier.TooLarge}[i == 3]; o.Err != nil || o.Result != want {
				t.Errorf("%d: %+v", i, o)
			}
		}
		for i, g := range b.GetMany(ctx(), ks, true) {
			if (g.Raw == nil) != (i == 3) || g.Err != nil {
				t.Errorf("%d: %d bytes, %v", i, len(g.Raw), g.Err)
			}
		}
	})
}

func TestTracking_EveryForeignChangeIsHeard(t *testing.T) {
	onBoth(t, func(b *bench) {
		key := b.k.Record
		for _, cmds := range [][][]string{{{"SET", key, "x"}}, {{"DEL", key}}, {{"PEXPIRE", key, "30"}}, {{"APPEND", key, "x"}},
			{{"RENAME", key, key + "2"}}, {{"EVAL", "redis.call('SET', KEYS[1], 'y')", "1", key}}} {
			b.do("DEL", key)
			b.do("SET", key, "x")
			if _, _, err := b.Get(ctx(), b.k, false); err != nil {
				t.Fatal(err)
			}
			before := b.ear.heard(b.k)
			for _, c := range cmds {
				b.do(c...)
			}
			eventually(t, fmt.Sprint(cmds, " is heard"), func() bool { return b.ear.heard(b.k) > before })
		}
		b.do("DEL", key)
		b.Get(ctx(), b.k, false) // a miss is tracked too
		before := b.ear.heard(b.k)
		b.do("SET", key, "x")
		eventually(t, "the birth of a key that was missed", func() bool { return b.ear.heard(b.k) > before })
		sessions := b.ear.sessionCount()
		b.Get(ctx(), b.k, false)
		b.do("FLUSHALL")
		eventually(t, "FLUSHALL ends the session", func() bool { return b.ear.sessionCount() > sessions })
		// An own fill is heard as well: T does not write, so Redis has no reason to keep it back.
		before = b.ear.heard(b.k)
		b.Get(ctx(), b.k, false)
		b.fill(b.lease(), 1)
		eventually(t, "an own fill", func() bool { return b.ear.heard(b.k) > before })
		// A load that came to nothing wakes those who wait for its fill.
		b.Apply(ctx(), b.k, 0)
		b.Get(ctx(), b.k, false)
		before = b.ear.heard(b.k)
		if err := b.Release(ctx(), b.k, b.lease().Token); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a released lease", func() bool { return b.ear.heard(b.k) > before })
	})
}

func TestTracking_WatermarksAreNotTracked(t *testing.T) {
	onBoth(t, func(b *bench) {
		b.Heartbeat(ctx())
		watermark := tier.Key{Hash: tier.HashRecord(b.Keyspace().Watermark(b.k.Bucket))}
		b.ResetWatermark(ctx(), b.k.Bucket, tier.Watermark{}, tier.Position{Epoch: 1, N: 1})
		b.Get(ctx(), b.k, false)
		b.do("SET", b.k.Record, "x")
		eventually(t, "the record's change", func() bool { return b.ear.heard(b.k) > 0 })
		if b.ear.heard(watermark) != 0 {
			t.Error("moving a watermark is pushed to everybody who has read it")
		}
	})
}

func TestTracking_SmallTableAndOwnWrites(t *testing.T) { // the NOLOOP trap
	p := servicestest.StartRedis(t, "--tracking-table-max-keys", "10")
	b := newBench(t, rueidis.ClientOption{InitAddress: []string{p.Addr}}, p.Do)
	var ks []tier.Key
	for i := range 200 {
		k := b.Keyspace().Key("n", fmt.Sprint(i))
		ks = append(ks, k)
		l, err := b.Acquire(ctx(), k, tier.NewToken(), time.Minute, tier.Acquire{})
		if err != nil {
			t.Fatal(err)
		}
		b.Fill(ctx(), k, l.Token, l.Epoch, tier.Record{Version: 1}, time.Minute)
		b.Get(ctx(), k, false)
	}
	for _, k := range ks {
		b.do("SET", k.Record, "x")
	}
	eventually(t, "every key that was read is heard of", func() bool {
		for _, k := range ks {
			if b.ear.heard(k) == 0 {
				return false
			}
		}
		return true
	})
}

func TestConnection_LostAndFound(t *testing.T) {
	p := servicestest.StartRedis(t)
	p.Kill()
	b := &bench{}
	e := &ear{}
	l2, err := tier.OpenL2(tier.L2Config{Redis: rueidis.ClientOption{InitAddress: []string{p.Addr}}, Tracker: e})
	if err != nil {
		t.Fatalf("with Redis down: %v", err)
	}
	defer l2.Close()
	b.k = l2.Keyspace().Key("n", "k")
	if _, _, err := l2.Get(ctx(), b.k, true); !errors.Is(err, tier.ErrUnavailable) || l2.Up() {
		t.Errorf("with Redis down: %v", err)
	}
	p.Restart()
	if err := l2.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e.sessionCount() == 0 {
		t.Error("a dial is no session: the null push of an old connection can come after a reply of the new one")
	}
	for range 3 {
		before := e.sessionCount()
		p.Kill()
		eventually(t, "the loss is noticed", func() bool { _, err := l2.Heartbeat(ctx()); return err != nil && !l2.Up() })
		p.Restart()
		eventually(t, "it is found again", func() bool { _, _, err := l2.Get(ctx(), b.k, true); return err == nil })
		if e.sessionCount() <= before {
			t.Error("a reply came over a new connection before the session changed")
		}
	}
	if sessions := e.sessionCount(); strings.Contains(p.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), "ERR") {
		t.Error("CLIENT KILL is refused")
	} else {
		eventually(t, "CLIENT KILL", func() bool { l2.Heartbeat(ctx()); return e.sessionCount() > sessions })
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
		if _, err := tier.OpenL2(tier.L2Config{Redis: opt, Tracker: &ear{}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tier.OpenL2(tier.L2Config{Redis: rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, Prefix: "a{b", Tracker: &ear{}}); err == nil {
		t.Error("a prefix with a brace")
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in 20 seconds: %s", what)
		}
		<-tick.C
	}
}
