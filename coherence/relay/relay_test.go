package relay_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

var keys = l2.NewKeyspace("")

// at is a position of the source.
func at(n uint64) coherence.Position { return coherence.Position{Timeline: 1, N: n} }

// log is a source of changes in memory.
type log struct {
	mu      sync.Mutex
	events  []coherence.Event
	cursors map[string]coherence.Cursor
	trimmed uint64
	upto    coherence.Position // the last Trim
	refuse  error              // of SaveCursor
}

func newLog() *log { return &log{cursors: map[string]coherence.Cursor{}} }

func (l *log) add(key string, v coherence.Version) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(
		l.events,
		coherence.Event{
			Namespace: "n",
			Key:       key,
			Version:   v,
			Op:        coherence.OpUpdated,
			Position:  at(uint64(len(l.events) + 1)),
		},
	)
}

func (l *log) Abilities() coherence.Abilities { return coherence.Abilities{} }

func (l *log) Position(context.Context) (coherence.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return at(uint64(len(l.events))), nil
}

func (l *log) Changes(
	_ context.Context,
	after coherence.Position,
	limit int,
) ([]coherence.Event, coherence.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !after.IsZero() && (after.Timeline != 1 || after.N < l.trimmed) {
		return nil, coherence.Position{}, fmt.Errorf("%w: %v", coherence.ErrTrimmed, after)
	}
	from, to := int(max(after.N, l.trimmed)), len(l.events)
	if limit > 0 && to-from > limit {
		to = from + limit
	}
	if limit <= 0 {
		return nil, at(uint64(len(l.events))), nil
	}
	return l.events[from:to], at(uint64(to)), nil
}

func (l *log) LoadCursor(_ context.Context, name string) (coherence.Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursors[name], nil
}

func (l *log) SaveCursor(_ context.Context, name string, c coherence.Cursor) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return l.refuse
	}
	l.cursors[name] = c
	return nil
}

func (l *log) Trim(_ context.Context, upto coherence.Position, _ time.Duration) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.upto = upto
	return 0, nil
}

// topic is a publisher in memory.
type topic struct {
	mu    sync.Mutex
	parts [][]coherence.Message
	fail  error
	n     int
	mixed bool // a batch had events and barriers
}

func (p *topic) Partitions(context.Context) (int, error) { return p.n, nil }

func (p *topic) Publish(_ context.Context, batch []coherence.PartitionMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return p.fail
	}
	if p.parts == nil {
		p.parts = make([][]coherence.Message, p.n)
	}
	for _, o := range batch {
		p.mixed = p.mixed || (o.Barrier == nil) != (batch[0].Barrier == nil)
		p.parts[o.Partition] = append(p.parts[o.Partition], o.Message)
	}
	return nil
}

// events are what a partition's followers see, barriers apart: "key@seq".
func (p *topic) events(part int) (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parts == nil {
		return nil
	}
	for _, m := range p.parts[part] {
		if m.Barrier == nil {
			out = append(out, fmt.Sprintf("%s@%d", m.Event.Key, m.Event.Seq))
		}
	}
	return out
}

// redisFake applies to buckets in memory.
type redisFake struct {
	mu         sync.Mutex
	watermarks [l2.Buckets]l2.Watermark
	applied    map[string]coherence.Version
	resets     int
	fail       error
}

func newRedisFake() *redisFake { return &redisFake{applied: map[string]coherence.Version{}} }

func (r *redisFake) Keyspace() *l2.Keyspace { return keys }
func (r *redisFake) Watermarks(context.Context) ([l2.Buckets]l2.Watermark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.watermarks, r.fail
}

func (r *redisFake) ApplyBatch(
	_ context.Context,
	b int,
	changes []l2.Change,
	from l2.Watermark,
	to coherence.Position,
) (l2.Watermark, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return l2.Watermark{}, false, r.fail
	}
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
	return r.watermarks[b], true, nil
}

func (r *redisFake) ResetWatermark(
	_ context.Context,
	b int,
	seen l2.Watermark,
	to coherence.Position,
) (l2.Watermark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.watermarks[b] == seen {
		r.resets++
		r.watermarks[b] = l2.Watermark{
			Incarnation: l2.Incarnation{1, byte(r.resets >> 8), byte(r.resets)},
			Position:    to,
		}
	}
	return r.watermarks[b], nil
}

func (r *redisFake) version(key string) coherence.Version {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.applied[key]
}

func (r *redisFake) reached(n uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
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

func TestRelay_PublishesTheSameAgain(t *testing.T) { // R23
	src, top := newLog(), &topic{n: 1}
	src.add("a", 1)
	src.add("b", 1)
	src.refuse = errors.New("the relay dies before it saves")
	stop := start(t, relay.Relay{Source: src, Publisher: top}, nil)
	eventually(t, "both are published", func() bool { return len(top.events(0)) >= 2 })
	stop()
	src.refuse = nil
	src.add("c", 1)
	stop = start(t, relay.Relay{Source: src, Publisher: top}, nil)
	eventually(
		t,
		"its successor publishes",
		func() bool { return len(top.events(0)) > 0 && top.events(0)[len(top.events(0))-1] == "c@3" },
	)
	stop()
	for i, e := range top.events(0) {
		want := map[byte]string{'a': "a@1", 'b': "b@2", 'c': "c@3"}[e[0]]
		if e != want {
			t.Errorf("message %d is %s, want %s", i, e, want)
		}
	}
	r := fence.New(fence.Config{Complete: true, Now: func() int64 { return 1 }})
	r.EventPartitions(1)
	r.EventSession(0)
	for _, m := range top.parts[0] { // and a follower sees no gap
		gap := false
		if m.Barrier != nil {
			gap = r.EventBarrier(0, *m.Barrier)
		} else {
			gap = r.EventSeq(0, m.Event.Seq)
		}
		if gap {
			t.Errorf("%+v is a gap", m)
		}
	}
}

func TestRelay_BarriersFollowTheirEvents(t *testing.T) {
	src, top := newLog(), &topic{n: 2}
	for i := range 100 {
		src.add(fmt.Sprint(i), 1)
	}
	start(t, relay.Relay{Source: src, Publisher: top, Batch: 7}, nil)
	last := func(p int) *coherence.Barrier {
		top.mu.Lock()
		defer top.mu.Unlock()
		if top.parts == nil || len(top.parts[p]) == 0 {
			return nil
		}
		return top.parts[p][len(top.parts[p])-1].Barrier
	}
	eventually(t, "barriers reach the end", func() bool {
		a, b := last(0), last(1)
		return a != nil && b != nil && a.Position == at(100) && b.Position == at(100) && a.Seq+b.Seq == 100
	})
	top.mu.Lock()
	if top.mixed {
		t.Error("barriers were in a batch with events, which they hold up")
	}
	top.mu.Unlock()
	for p := range 2 {
		seen := uint64(0)
		top.mu.Lock()
		for _, m := range top.parts[p] {
			if m.Barrier != nil && m.Barrier.Seq != seen {
				t.Errorf("a barrier of %d after event %d", m.Barrier.Seq, seen)
			} else if m.Barrier == nil {
				seen = m.Event.Seq
			}
		}
		top.mu.Unlock()
	}
}

func TestRelay_ChannelsDoNotWaitForEachOther(t *testing.T) {
	src, top, red := newLog(), &topic{n: 1, fail: errors.New("Kafka is down")}, newRedisFake()
	start(t, relay.Relay{Source: src, Publisher: top}, red)
	eventually(t, "watermarks", func() bool { return red.reached(0) })
	src.add("a", 1)
	eventually(t, "Redis has it", func() bool { return red.version("a") == 1 && red.reached(1) })
	red.mu.Lock()
	red.fail = errors.New("Redis is down")
	red.mu.Unlock()
	top.mu.Lock()
	top.fail = nil
	top.mu.Unlock()
	src.add("b", 1)
	eventually(t, "Kafka has both", func() bool { return cmp.Equal(top.events(0), []string{"a@1", "b@2"}) })
	red.mu.Lock()
	red.fail = nil
	red.mu.Unlock()
	eventually(t, "Redis has both", func() bool { return red.version("b") == 1 && red.reached(2) })
}

func TestRelay_ReplaysWhatRedisLost(t *testing.T) { // R11
	src, red := newLog(), newRedisFake()
	start(t, relay.Relay{Source: src}, red)
	eventually(t, "watermarks", func() bool { return red.reached(0) })
	red.mu.Lock()
	replica := red.watermarks
	red.mu.Unlock()
	src.add("a", 1)
	eventually(t, "applied", func() bool { return red.version("a") == 1 && red.reached(1) })
	red.mu.Lock() // fail-over to a replica that had not heard of it
	red.watermarks, red.applied = replica, map[string]coherence.Version{}
	resets := red.resets
	red.mu.Unlock()
	eventually(t, "applied again", func() bool { return red.version("a") == 1 && red.reached(1) })
	red.mu.Lock()
	defer red.mu.Unlock()
	if red.resets != resets {
		t.Error("the buckets were started anew, although nothing was missing from the outbox")
	}
}

// waking is a source whose changes wake the relay, and that counts how many it was asked for.
type waking struct {
	*log
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

func (w *waking) Changes(
	ctx context.Context,
	after coherence.Position,
	limit int,
) ([]coherence.Event, coherence.Position, error) {
	events, upto, err := w.log.Changes(ctx, after, limit)
	w.told.Add(int64(len(events)))
	return events, upto, err
}

// TestRelay_AsksForEachChangeOnce: the buckets without changes, whose watermarks move once an interval, do not make it
// read the others' again; a bucket that Redis lost does.
func TestRelay_AsksForEachChangeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, red := &waking{log: newLog(), wake: make(chan struct{})}, newRedisFake()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src, Interval: time.Minute}.RunOn(ctx, red) })
		defer wg.Wait()
		defer cancel()
		synctest.Wait()
		before := red.watermarks
		for i := range 20 {
			src.add(fmt.Sprint(i), 1)
			src.wake <- struct{}{}
			synctest.Wait()
			if red.version(fmt.Sprint(i)) != 1 {
				t.Fatalf("change %d is not applied when it wakes the relay", i)
			}
		}
		if told := src.told.Load(); told != 20 {
			t.Errorf("the source was asked for %d changes, and has 20", told)
		}
		red.mu.Lock()
		red.watermarks, red.applied = before, map[string]coherence.Version{}
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
	src, red := newLog(), newRedisFake()
	stop := start(t, relay.Relay{Source: src}, red)
	src.add("a", 1)
	eventually(t, "watermarks", func() bool { return red.reached(1) })
	red.mu.Lock()
	before := red.watermarks[5].Incarnation
	red.watermarks[5] = l2.Watermark{}
	red.mu.Unlock()
	src.add("b", 1)
	eventually(t, "a new watermark", func() bool { return red.reached(2) })
	stop()
	if red.watermarks[5].Incarnation == before || red.watermarks[5].Incarnation == (l2.Incarnation{}) {
		t.Errorf("incarnation %v after %v", red.watermarks[5].Incarnation, before)
	}
}

// TestRelay_BucketOfALostHistoryIsStartedAnew: one that could not be reached when the others were.
func TestRelay_BucketOfALostHistoryIsStartedAnew(t *testing.T) { // C7, R21
	src, red := newLog(), newRedisFake()
	for b := range red.watermarks {
		red.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{9}, Position: at(0)}
	}
	red.watermarks[5].Position.Timeline = 7
	src.add("a", 1)
	stop := start(t, relay.Relay{Source: src}, red)
	eventually(t, "all buckets go on", func() bool { return red.reached(1) })
	stop()
	if red.watermarks[5].Incarnation == (l2.Incarnation{9}) || red.watermarks[4].Incarnation != (l2.Incarnation{9}) {
		t.Errorf("%+v, %+v", red.watermarks[4], red.watermarks[5])
	}
}

func TestRelay_TrimmedOutboxIsAGapForAll(t *testing.T) {
	src, top, red := newLog(), &topic{n: 2}, newRedisFake()
	for i := range 10 {
		src.add(fmt.Sprint(i), 1)
	}
	src.cursors["relay"] = coherence.Cursor{Position: at(2), Seqs: []uint64{5, 7}}
	for b := range red.watermarks {
		red.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{9}, Position: at(2)}
	}
	src.trimmed = 6
	stop := start(t, relay.Relay{Source: src, Publisher: top}, red)
	eventually(
		t,
		"the rest is published",
		func() bool { return len(top.events(0))+len(top.events(1)) == 4 && red.reached(10) },
	)
	stop()
	for p, first := range []uint64{7, 9} { // 6 and 8 were left out
		top.mu.Lock()
		m := top.parts[p][0]
		top.mu.Unlock()
		if m.Barrier == nil && m.Event.Seq != first || m.Barrier != nil && m.Barrier.Seq != first-1 {
			t.Errorf("partition %d goes on with %+v", p, m)
		}
	}
	for b := range red.watermarks {
		if red.watermarks[b].Incarnation == (l2.Incarnation{9}) {
			t.Errorf("bucket %d keeps its incarnation, although it missed changes", b)
		}
	}
}

// A client without a source starts buckets anew at no position. A relay that comes later cannot apply to one.
func TestRelay_StartsBucketsWithoutAPositionAnew(t *testing.T) {
	for name, n := range map[string]int{"one": 1, "all": l2.Buckets} {
		t.Run(name, func(t *testing.T) {
			src, store := newLog(), newRedisFake()
			src.add("a", 1)
			for b := range n {
				store.watermarks[b] = l2.Watermark{Incarnation: l2.Incarnation{9, byte(b)}}
			}
			start(t, relay.Relay{Source: src}, store)
			eventually(t, "the relay moves every bucket", func() bool { return store.reached(1) })
			src.add("a", 2)
			eventually(t, "and goes on", func() bool { return store.reached(2) && store.version("a") == 2 })
		})
	}
}
