package l2_test

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
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

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

func (e *ear) SessionChanged(l2.BucketSet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions++
}

func (e *ear) heard(k l2.Key) int { return e.heardHash(k.Hash) }

func (e *ear) heardHash(hash uint64) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hashes[hash]
}

func (e *ear) sessionCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions
}

// bench is an L2 with a way to meddle.
type bench struct {
	*l2.L2
	t   *testing.T
	ear *ear
	do  func(args ...string) string
	k   l2.Key
}

// onBoth runs a test on the fake Redis and on a real one.
func onBoth(t *testing.T, test func(b *bench)) {
	t.Helper()
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) { test(newBench(t, r.Option, r.Do)) })
}

func newBench(t *testing.T, opt rueidis.ClientOption, do func(...string) string) *bench {
	t.Helper()
	e := &ear{}
	store, err := l2.Open(l2.Config{Redis: opt, Tracker: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{L2: store, t: t, ear: e, do: do, k: store.Keyspace().Key("n", "k")}
}

func ctx() context.Context { return context.Background() }

// lease acquires, and wants to be granted.
func (b *bench) lease() l2.Lease {
	b.t.Helper()
	l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
	if err != nil || l.Status != l2.Granted {
		b.t.Fatalf("acquire: got the status %v and error %v, want a lease", l.Status, err)
	}
	return l
}

func (b *bench) fill(l l2.Lease, v coherence.Version) l2.FillResult {
	b.t.Helper()
	r, err := b.Fill(ctx(), b.k, l.ID, l.Incarnation, l2.Record{Version: v, Payload: []byte("v")}, time.Minute)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// track reads the record, so that Redis tells of its next change.
func (b *bench) track() {
	b.t.Helper()
	if _, _, err := b.Get(ctx(), b.k, l2.ReadOptions{}); err != nil {
		b.t.Fatalf("get: %v", err)
	}
}

// store fills a version.
func (b *bench) store(v coherence.Version) {
	b.t.Helper()
	if err := b.Apply(ctx(), b.k, 0); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
	if r := b.fill(b.lease(), v); r != l2.Filled {
		b.t.Fatalf("fill: got %v, want it filled", r)
	}
}

// state is "version", "absent", or why there is no record; and whether there is a lease.
func (b *bench) state() string {
	b.t.Helper()
	raw, _, err := b.Get(ctx(), b.k, l2.ReadOptions{})
	s := "absent"
	switch {
	case errors.Is(err, l2.ErrWrongType):
		s = "wrong type"
	case err != nil:
		b.t.Fatal(err)
	case raw != nil:
		if r, err := l2.DecodeRecord(raw); err != nil {
			s = "foreign"
		} else {
			s = fmt.Sprint("v", r.Version)
			if r.Incarnation == (l2.Incarnation{}).Unconfirmed() {
				s += "?"
			}
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
		b.t.Errorf("%s: got %s, want %s", what, got, want)
	}
}

// apply applies an invalidation.
func (b *bench) apply(v coherence.Version) {
	b.t.Helper()
	if err := b.Apply(ctx(), b.k, v); err != nil {
		b.t.Fatal(err)
	}
}

// leaseOver acquires a lease although there is a value, as a build with a newer schema does.
func (b *bench) leaseOver() l2.Lease {
	b.t.Helper()
	l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{Schema: 1})
	if err != nil || l.Status != l2.Granted {
		b.t.Fatalf("acquire: got the status %v and error %v, want a lease", l.Status, err)
	}
	return l
}

// intend places an intent, and returns whether it has set a value aside.
func (b *bench) intend(id l2.LeaseID) bool {
	b.t.Helper()
	aside, err := b.PlaceIntent(ctx(), b.k, id, time.Minute)
	if err != nil {
		b.t.Fatal(err)
	}
	return aside
}

func (b *bench) resolve(id l2.LeaseID, v coherence.Version) {
	b.t.Helper()
	b.end(id, l2.Committed, v)
}

// end resolves an intent with an outcome.
func (b *bench) end(id l2.LeaseID, o l2.Outcome, v coherence.Version) {
	b.t.Helper()
	if err := b.ResolveIntent(ctx(), b.k, id, o, v); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) wantFill(what string, l l2.Lease, v coherence.Version, want l2.FillResult) {
	b.t.Helper()
	if got := b.fill(l, v); got != want {
		b.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (b *bench) wantStatus(what string, want l2.LeaseStatus) {
	b.t.Helper()
	l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
	if err != nil || l.Status != want {
		b.t.Errorf("%s: got the status %v and error %v, want %v", what, l.Status, err, want)
	}
}

func (b *bench) wantSet(what string, v coherence.Version, schema uint32, want bool) {
	b.t.Helper()
	got, err := b.Set(ctx(), b.k, l2.Record{Version: v, Schema: schema, Payload: []byte("set")}, time.Minute)
	if err != nil || got != want {
		b.t.Errorf("%s: got replaced %v and error %v, want %v", what, got, err, want)
	}
}
