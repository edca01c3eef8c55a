package relay_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

var keys = l2.NewKeyspace("")

// at is the position of the source after n writes.
func at(n uint64) coherence.Position { return coherence.Position{Timeline: 1, N: n + 1} }

// outbox is a source in memory whose cursor cannot be saved if the test says so.
type outbox struct {
	*nearcachetest.Source
	mu     sync.Mutex
	refuse error  // of SaveCursor
	asked  func() // before each call of Changes
}

func (o *outbox) onChanges(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = f
}

func (o *outbox) Changes(ctx context.Context, after coherence.Position, limit int) (
	[]coherence.Event, coherence.Position, error) {
	o.mu.Lock()
	asked := o.asked
	o.mu.Unlock()
	if asked != nil && limit < 1000 {
		asked()
	}
	return o.Source.Changes(ctx, after, limit)
}

func newOutbox() *outbox { return &outbox{Source: nearcachetest.NewSource()} }

// add commits the next version of a key.
func (o *outbox) add(key string) { o.Write("n", key, coherence.OpUpdated) }

func (o *outbox) refuseCursors(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refuse = err
}

func (o *outbox) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	o.mu.Lock()
	err := o.refuse
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return o.Source.SaveCursor(ctx, name, c)
}

// redisState is what a redisFake has, and how often it was asked to change it.
type redisState struct {
	watermarks []l2.Watermark
	round      l2.Round         // of all buckets, or of the first server's
	elsewhere  map[int]l2.Round // of other servers, by their least bucket
	tokens     uint64
	resets     int
	published  int
	batches    int
}

func (r *redisFake) state() redisState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.redisState
	s.watermarks, s.elsewhere = slices.Clone(s.watermarks), maps.Clone(s.elsewhere)
	return s
}

// redisFake applies to buckets in memory.
type redisFake struct {
	mu sync.Mutex
	redisState
	applied   map[string]coherence.Version
	fail      error
	gone      l2.BucketSet   // buckets of servers that do not answer:
	hangs     bool           // until the caller gives up, or at once
	servers   []l2.BucketSet // which has which bucket; without any, nobody says so
	refuses   error          // it refuses rounds that stand for some of the buckets only
	onApply   func()         // after a batch of changes, under the lock
	onPublish func()         // after a round, under the lock
	onReset   func()         // after a reset, under the lock
}

// save is what a replica has now; the function makes it the primary.
func (r *redisFake) save() (failOver func()) {
	watermarks, applied, round, elsewhere := slices.Clone(r.watermarks), maps.Clone(r.applied), r.round,
		maps.Clone(r.elsewhere)
	return func() {
		r.watermarks, r.applied, r.round = slices.Clone(watermarks), maps.Clone(applied), round
		r.elsewhere = maps.Clone(elsewhere)
	}
}

// ask is nil if the server of some buckets answers.
func (r *redisFake) ask(ctx context.Context, of l2.BucketSet) error {
	r.mu.Lock()
	gone, hangs := r.gone.Both(of), r.hangs
	r.mu.Unlock()
	switch {
	case gone.IsZero():
		return nil
	case hangs:
		<-ctx.Done()
		return fmt.Errorf("%w: %w", l2.ErrUnavailable, ctx.Err())
	}
	return l2.ErrUnavailable
}

func newRedisFake() *redisFake {
	r := &redisFake{applied: map[string]coherence.Version{}}
	r.watermarks, r.elsewhere = make([]l2.Watermark, keys.Buckets()), map[int]l2.Round{}
	return r
}

func (r *redisFake) Keyspace() *l2.Keyspace { return keys }
func (r *redisFake) WatermarksOf(ctx context.Context, of l2.BucketSet) (ws []l2.Watermark, failed l2.BucketSet,
	err error) {
	ws = make([]l2.Watermark, keys.Buckets())
	err = r.ask(ctx, of)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		failed = of.Both(r.gone)
	}
	read := of.Minus(failed)
	for b := range read.All() {
		if ws[b] = r.watermarks[b]; r.fail != nil {
			failed.Add(b)
			err = r.fail
		}
	}
	return ws, failed, err
}

// errAnswered is an answer of Redis that is an error.
var errAnswered error = new(rueidis.RedisError)

func (r *redisFake) Servers(context.Context) ([]l2.BucketSet, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.servers) == 0 {
		return nil, errAnswered
	}
	return slices.Clone(r.servers), nil
}

// whole reports whether one server has all buckets.
func (r *redisFake) whole() bool { return len(r.servers) == 1 }

func (r *redisFake) LastRounds(ctx context.Context, leaders l2.BucketSet) (map[int]l2.Round, error) {
	if err := r.ask(ctx, leaders); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.elsewhere), r.fail
}

func (r *redisFake) BeginRound(ctx context.Context, _ bool) (l2.Round, []l2.Watermark, error) {
	if err := r.ask(ctx, l2.SetOf(l2.RoundBucket)); err != nil {
		return l2.Round{}, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.round.IsZero() && r.round.Token == 0 {
		r.tokens++
		r.round.Token = r.tokens
	}
	return r.round, slices.Clone(r.watermarks), r.fail
}

func (r *redisFake) PublishRounds(ctx context.Context, ps []l2.Publication) (published []bool, err error) {
	for i := range ps {
		if err := r.ask(ctx, l2.SetOf(ps[i].Leader)); err != nil {
			return make([]bool, len(ps)), err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	published = make([]bool, len(ps))
	for i := range ps {
		var e error
		if published[i], e = r.publish(&ps[i]); e != nil {
			err = e
		}
	}
	return published, err
}

func (r *redisFake) publish(p *l2.Publication) (published bool, err error) {
	last := r.elsewhere[p.Leader]
	if p.Leader == l2.RoundBucket {
		last = r.round
	}
	if r.fail != nil || last != p.Seen {
		return false, r.fail
	}
	if r.refuses != nil && !p.Next.Buckets.IsZero() && p.Next.Buckets != l2.AllBuckets(l2.DefaultBuckets) {
		return false, r.refuses
	}
	for b, w := range p.Needed {
		if !r.together(b, p.Leader) {
			return false, errAnswered
		}
		if now := r.watermarks[b]; now.Incarnation != w.Incarnation || !now.Position.Covers(w.Position) {
			return false, nil
		}
	}
	if p.Leader == l2.RoundBucket {
		r.round = p.Next
	} else {
		r.elsewhere[p.Leader] = p.Next
	}
	r.published++
	if r.onPublish != nil {
		r.onPublish()
	}
	return true, nil
}

// together reports whether one server has two buckets.
func (r *redisFake) together(a, b int) bool {
	for _, s := range r.servers {
		if s.Has(a) && s.Has(b) {
			return true
		}
	}
	return a == b
}

func (r *redisFake) ApplyBatch(ctx context.Context, b int, changes []l2.Change, from l2.Watermark,
	to coherence.Position) (l2.Watermark, bool, error) {
	if err := r.ask(ctx, l2.SetOf(b)); err != nil {
		return l2.Watermark{}, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return l2.Watermark{}, false, r.fail
	}
	r.batches++
	now := r.watermarks[b]
	if to.Timeline != from.Position.Timeline {
		return l2.Watermark{}, false, errors.New("a batch to another timeline")
	}
	if now.Incarnation != from.Incarnation || !now.Position.Covers(from.Position) {
		return now, false, nil
	}
	for _, ch := range changes {
		r.applied[ch.Key.Name] = max(r.applied[ch.Key.Name], ch.Version)
	}
	if !now.Position.Covers(to) {
		r.watermarks[b].Position = to
	}
	now = r.watermarks[b]
	if r.onApply != nil && len(changes) > 0 {
		r.onApply()
	}
	return now, true, nil
}

func (r *redisFake) ResetWatermark(_ context.Context, b int, seen l2.Watermark,
	to coherence.Position) (l2.Watermark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watermarks[b] == seen {
		r.resets++
		r.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{1, byte(r.resets >> 8), byte(r.resets)}, Position: to}
	}
	now := r.watermarks[b]
	if r.onReset != nil {
		r.onReset()
	}
	return now, nil
}

func (r *redisFake) version(key string) coherence.Version {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied[key]
}

func (r *redisFake) reached(n uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole() && r.round.Upto.Covers(at(n)) {
		return true
	}
	for _, w := range r.watermarks {
		if !w.Position.Covers(at(n)) {
			return false
		}
	}
	return true
}

// run runs a relay, over a fake Redis if there is one.
func run(ctx context.Context, r relay.Relay, red *redisFake) error {
	if red == nil {
		return r.Run(ctx)
	}
	return r.RunOn(ctx, red)
}

// start runs a relay until the returned function is called.
func start(t *testing.T, r relay.Relay, red *redisFake) (stop func()) {
	t.Helper()
	r.Interval = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx, r, red); err != nil {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func TestRelay_PublishesTheSameAgain(t *testing.T) { // R23
	src, top := newOutbox(), testkit.NewTopic(1)
	src.add("a")
	src.add("b")
	src.refuseCursors(errors.New("the relay dies before it saves"))
	stop := start(t, relay.Relay{Source: src, Publisher: top}, nil)
	testkit.Eventually(t, "both are published", func() bool { return len(top.Events(0)) >= 2 })
	stop()
	src.refuseCursors(nil)
	src.add("c")
	stop = start(t, relay.Relay{Source: src, Publisher: top}, nil)
	testkit.Eventually(t, "its successor publishes", func() bool {
		events := top.Events(0)
		return len(events) > 0 && events[len(events)-1] == "c@3"
	})
	stop()
	for i, e := range top.Events(0) {
		want := map[byte]string{'a': "a@1", 'b': "b@2", 'c': "c@3"}[e[0]]
		if e != want {
			t.Errorf("message %d: got %s, want %s", i, e, want)
		}
	}
	r := fence.New(fence.Config{Complete: true, Now: func() int64 { return 1 }})
	r.EventPartitions(1)
	r.EventSession(0)
	for _, m := range top.Messages(0) { // and a follower sees no gap
		gap := false
		if m.Barrier != nil {
			gap = r.EventBarrier(0, *m.Barrier)
		} else {
			gap = r.EventSeq(0, m.Event.Seq)
		}
		if gap {
			t.Errorf("got a gap at %+v, want none", m)
		}
	}
}

func TestRelay_BarriersFollowTheirEvents(t *testing.T) {
	src, top := newOutbox(), testkit.NewTopic(2)
	for i := range 100 {
		src.add(fmt.Sprint(i))
	}
	start(t, relay.Relay{Source: src, Publisher: top, Batch: 7}, nil)
	last := func(p int) *coherence.Barrier {
		all := top.Messages(p)
		if len(all) == 0 {
			return nil
		}
		return all[len(all)-1].Barrier
	}
	testkit.Eventually(t, "barriers reach the end", func() bool {
		a, b := last(0), last(1)
		return a != nil && b != nil && a.Position == at(100) && b.Position == at(100) && a.Seq+b.Seq == 100
	})
	if top.Mixed() {
		t.Error("got a batch with barriers and events, want batches of either: barriers hold events up")
	}
	for p := range 2 {
		seen := uint64(0)
		for _, m := range top.Messages(p) {
			if m.Barrier != nil && m.Barrier.Seq != seen {
				t.Errorf("got a barrier of %d after event %d, want one of %[2]d", m.Barrier.Seq, seen)
			} else if m.Barrier == nil {
				seen = m.Event.Seq
			}
		}
	}
}

func TestRelay_ChannelsDoNotWaitForEachOther(t *testing.T) {
	src, top, red := newOutbox(), testkit.NewTopic(1), newRedisFake()
	top.Fail(errors.New("Kafka is down"))
	start(t, relay.Relay{Source: src, Publisher: top}, red)
	testkit.Eventually(t, "watermarks", func() bool { return red.reached(0) })
	src.add("a")
	testkit.Eventually(t, "Redis has it", func() bool { return red.version("a") == 1 && red.reached(1) })
	red.mu.Lock()
	red.fail = errors.New("Redis is down")
	red.mu.Unlock()
	top.Fail(nil)
	src.add("b")
	testkit.Eventually(t, "Kafka has both", func() bool { return cmp.Equal(top.Events(0), []string{"a@1", "b@2"}) })
	red.mu.Lock()
	red.fail = nil
	red.mu.Unlock()
	testkit.Eventually(t, "Redis has both", func() bool { return red.version("b") == 1 && red.reached(2) })
}

func TestRelay_ReplaysWhatRedisLost(t *testing.T) { // R11
	src, red := newOutbox(), newRedisFake()
	start(t, relay.Relay{Source: src}, red)
	testkit.Eventually(t, "watermarks", func() bool { return red.reached(0) })
	red.mu.Lock()
	replica := slices.Clone(red.watermarks)
	red.mu.Unlock()
	src.add("a")
	testkit.Eventually(t, "applied", func() bool { return red.version("a") == 1 && red.reached(1) })
	red.mu.Lock() // fail-over to a replica that had not heard of it
	red.watermarks, red.applied = slices.Clone(replica), map[string]coherence.Version{}
	resets := red.resets
	red.mu.Unlock()
	testkit.Eventually(t, "applied again", func() bool { return red.version("a") == 1 && red.reached(1) })
	red.mu.Lock()
	defer red.mu.Unlock()
	if red.resets != resets {
		t.Error("got new buckets, want the old ones: the outbox lacked nothing")
	}
}

// waking is a source whose changes wake the relay, and that counts how many it was asked for.
type waking struct {
	*outbox
	wake chan struct{}
	told atomic.Int64
}

func (w *waking) Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w.wake:
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (w *waking) Changes(ctx context.Context, after coherence.Position, limit int) (
	[]coherence.Event, coherence.Position, error) {
	events, upto, err := w.outbox.Changes(ctx, after, limit)
	w.told.Add(int64(len(events)))
	return events, upto, err
}

// TestRelay_AsksForEachChangeOnce: the buckets without changes, whose watermarks move once an interval, do not make it
// read the others' again; a bucket that Redis lost does.
func TestRelay_AsksForEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, red := &waking{outbox: newOutbox(), wake: make(chan struct{})}, newRedisFake()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src, Interval: time.Minute}.RunOn(ctx, red) })
		defer wg.Wait()
		defer cancel()
		synctest.Wait()
		before := slices.Clone(red.watermarks)
		for i := range 20 {
			src.add(fmt.Sprint(i))
			src.wake <- struct{}{}
			synctest.Wait()
			if red.version(fmt.Sprint(i)) != 1 {
				t.Fatalf("change %d is not applied when it wakes the relay", i)
			}
		}
		if told := src.told.Load(); told != 20 {
			t.Errorf("got %d changes from the source, want each of the 20 once", told)
		}
		red.mu.Lock()
		red.watermarks, red.applied = slices.Clone(before), map[string]coherence.Version{}
		red.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for i := range 20 {
			if red.version(fmt.Sprint(i)) != 1 {
				t.Errorf("change %d is not applied again", i)
			}
		}
	})
}

func TestRelay_LostWatermarkIsANewIncarnation(t *testing.T) {
	src, red := newOutbox(), newRedisFake()
	stop := start(t, relay.Relay{Source: src}, red)
	src.add("a")
	testkit.Eventually(t, "watermarks", func() bool { return red.reached(1) })
	red.mu.Lock()
	before := red.watermarks[5].Incarnation
	red.watermarks[5] = l2.Watermark{}
	red.mu.Unlock()
	src.add("b")
	testkit.Eventually(t, "a new watermark", func() bool { return red.reached(2) })
	stop()
	if red.watermarks[5].Incarnation == before || red.watermarks[5].Incarnation == (l2.Incarnation{}) {
		t.Errorf("incarnation %v after %v", red.watermarks[5].Incarnation, before)
	}
}

// TestRelay_BucketOfALostHistoryIsStartedAnew: one that could not be reached when the others were.
func TestRelay_BucketOfALostHistoryIsStartedAnew(t *testing.T) { // C7, R21
	src, red := newOutbox(), newRedisFake()
	for b := range red.watermarks {
		red.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{9}, Position: at(0)}
	}
	red.watermarks[5].Position.Timeline = 7
	src.add("a")
	stop := start(t, relay.Relay{Source: src}, red)
	testkit.Eventually(t, "all buckets go on", func() bool { return red.reached(1) })
	stop()
	if red.watermarks[5].Incarnation == (l2.Incarnation{9}) || red.watermarks[4].Incarnation != (l2.Incarnation{9}) {
		t.Errorf("got %+v for bucket 4 and %+v for bucket 5, want only bucket 5 to begin again",
			red.watermarks[4], red.watermarks[5])
	}
}

func TestRelay_TrimmedOutboxIsAGapForAll(t *testing.T) {
	src, top, red := newOutbox(), testkit.NewTopic(2), newRedisFake()
	for i := range 10 {
		src.add(fmt.Sprint(i))
	}
	if err := src.SaveCursor(t.Context(), "relay", coherence.Cursor{Position: at(2), Seqs: []uint64{5, 7}}); err != nil {
		t.Fatal(err)
	}
	for b := range red.watermarks {
		red.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{9}, Position: at(2)}
	}
	if _, err := src.Trim(t.Context(), at(6), 0); err != nil {
		t.Fatal(err)
	}
	stop := start(t, relay.Relay{Source: src, Publisher: top}, red)
	testkit.Eventually(t, "the rest is published", func() bool {
		return len(top.Events(0))+len(top.Events(1)) == 4 && red.reached(10)
	})
	stop()
	for p, first := range []uint64{7, 9} { // 6 and 8 were left out
		m := top.Messages(p)[0]
		if m.Barrier == nil && m.Event.Seq != first || m.Barrier != nil && m.Barrier.Seq != first-1 {
			t.Errorf("partition %d: got %+v first, want event %d", p, m, first)
		}
	}
	for b := range red.watermarks {
		if red.watermarks[b].Incarnation == (l2.Incarnation{9}) {
			t.Errorf("bucket %d: got the old incarnation, want a new one: it missed changes", b)
		}
	}
}

// A client without a source starts buckets anew at no position. A relay that comes later cannot apply to one.
func TestRelay_StartsBucketsWithoutAPositionAnew(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "all": l2.DefaultBuckets} {
		t.Run(name, func(t *testing.T) {
			src, store := newOutbox(), newRedisFake()
			src.add("a")
			for b := range n {
				store.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{9, byte(b)}}
			}
			start(t, relay.Relay{Source: src}, store)
			testkit.Eventually(t, "the relay moves every bucket", func() bool { return store.reached(1) })
			src.add("a")
			testkit.Eventually(t, "and goes on", func() bool { return store.reached(2) && store.version("a") == 2 })
		})
	}
}
