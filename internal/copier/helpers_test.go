package copier

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// side is one of the two places, with its relay.
type side struct {
	*l2.L2
	t   testing.TB
	src coherence.Source
	end func() // of its relay; nil: none runs
}

func newSide(t testing.TB, src coherence.Source, cfg l2.Config) *side {
	t.Helper()
	store, err := l2.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &side{L2: store, t: t, src: src}
}

// start runs the relay.
func (s *side) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	r := relay.Relay{Source: s.src, L2: tier.Share(s.Handle()), Name: s.Keyspace().Prefix(),
		Interval: 300 * time.Millisecond}
	go func() { ended <- r.Run(ctx) }()
	s.end = func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
		s.end = nil
	}
}

func (s *side) stop() {
	if s.end != nil {
		s.end()
	}
}

func (s *side) close() {
	s.stop()
	s.Close()
}

func (s *side) key(name string) l2.Key { return s.Keyspace().Key("n", name) }

// fill loads a record, as an instance does.
func (s *side) fill(name string, rec l2.Record, ttl time.Duration) {
	s.t.Helper()
	lease, err := s.Acquire(context.Background(), s.key(name), l2.NewLeaseID(), time.Minute,
		l2.AcquireOptions{Schema: rec.Schema})
	if err != nil || lease.Status != l2.Granted {
		s.t.Fatalf("acquire %s: got %v and error %v, want a lease", name, lease.Status, err)
	}
	rec.WrittenAt = time.Now()
	if rec.ExpiresAt.IsZero() {
		rec.ExpiresAt = rec.WrittenAt.Add(ttl)
	}
	got, err := s.Fill(context.Background(), s.key(name), lease.ID, lease.Incarnation, rec, ttl)
	if err != nil || got != l2.Filled {
		s.t.Fatalf("fill %s: got %v and error %v, want it filled", name, got, err)
	}
}

// has is the record of a key that an instance would believe; nil: none.
func (s *side) has(name string) *l2.Record {
	s.t.Helper()
	k := s.key(name)
	raw, _, err := s.Get(context.Background(), k, l2.ReadOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	if raw == nil {
		return nil
	}
	ws, err := s.Watermarks(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	rec, err := l2.DecodeRecord(raw)
	if err != nil || rec.Incarnation != ws[k.Bucket].Incarnation {
		return nil
	}
	return &rec
}

// world is a source, two places with a relay each, and a copier between them.
type world struct {
	t          *testing.T
	src        *nearcachetest.Source
	redis      *nearcachetest.Redis
	old, fresh *side
	copier     *Copier
}

// inCopyBubble runs a test on fake time: the old place has 64 buckets, and the new one 256, on one Redis.
func inCopyBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		w := &world{t: t, src: nearcachetest.NewSource(), redis: redis}
		from, to := places(redis.PipeOption())
		w.old, w.fresh = newSide(t, w.src, from), newSide(t, w.src, to)
		defer w.old.close()
		defer w.fresh.close()
		w.old.start()
		w.fresh.start()
		time.Sleep(time.Second)
		w.copier = open(t, Config{From: from, To: to})
		defer w.copier.Close()
		test(t, w)
	})
}

func places(redis rueidis.ClientOption) (from, to l2.Config) {
	return l2.Config{Redis: redis, Prefix: "nc"}, l2.Config{Redis: redis, Prefix: "nd", Buckets: 256}
}

func open(t testing.TB, cfg Config) *Copier {
	t.Helper()
	c, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// write commits the next version of a key.
func (w *world) write(name string) coherence.Version {
	return w.src.Write("n", name, coherence.OpUpdated)
}

func payload(i int) []byte { return fmt.Appendf(nil, "value %d", i) }
