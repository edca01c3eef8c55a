package relay_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// onServers is a fake Redis whose servers have the buckets. After each batch and round it checks what it then says:
// that every change of the source at or before a position is applied.
func onServers(t *testing.T, src *outbox, servers ...l2.BucketSet) *redisFake {
	red := newRedisFake()
	red.servers = servers
	var last l2.Round
	honest := func() {
		events, _, err := src.Source.Changes(context.Background(), coherence.Position{}, 1000)
		if err != nil {
			t.Error(err)
		}
		for _, e := range events {
			b := keys.Key(e.Namespace, e.Key).Bucket
			w, round := red.watermarks[b].Position, red.roundOf(b)
			if (round.Upto.Covers(e.Position) || w.Covers(e.Position)) && red.applied[e.Key] < e.Version {
				t.Errorf("round %d comes to %v, bucket %d to %v, and version %d of %s at %v is not applied",
					round.Number, round.Upto, b, w, e.Version, e.Key, e.Position)
			}
		}
	}
	red.onApply = honest
	red.onPublish = func() {
		honest()
		if red.whole() && red.round.Incarnations != last.Incarnations && red.round.Incarnations != red.digest() {
			t.Errorf("round %d names incarnations that are neither the last round's nor the buckets'", red.round.Number)
		}
		last = red.round
	}
	return red
}

// roundOf is the last round of a bucket's server, if it stands for the bucket.
func (r *redisFake) roundOf(bucket int) (round l2.Round) {
	for leader := range keys.Buckets() {
		at := r.elsewhere[leader]
		if leader == l2.RoundBucket {
			at = r.round
		}
		if at.Buckets.Has(bucket) && r.together(leader, bucket) {
			return at
		}
	}
	return round
}

// digest is that of the buckets' incarnations.
func (r *redisFake) digest() uint64 {
	var is []l2.Incarnation
	for _, w := range r.watermarks {
		is = append(is, w.Incarnation)
	}
	return l2.DigestOf(is)
}

// inRoundsBubble runs relays on fake time until the end of f.
func inRoundsBubble(t *testing.T, relays int, f func(src *outbox, red *redisFake)) {
	t.Helper()
	inServersBubble(t, relays, []l2.BucketSet{l2.AllBuckets(l2.DefaultBuckets)}, f)
}

func inServersBubble(t *testing.T, relays int, servers []l2.BucketSet, f func(src *outbox, red *redisFake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		src := newOutbox()
		red := onServers(t, src, servers...)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range relays {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 13 * time.Millisecond)
				r := relay.Relay{Source: src, Interval: 100 * time.Millisecond, Name: fmt.Sprint(i)}
				if err := r.RunOn(ctx, red); err != nil {
					t.Error(err)
				}
			})
		}
		defer wg.Wait()
		defer cancel()
		time.Sleep(time.Second)
		synctest.Wait()
		f(src, red)
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestRounds_WriteNoIdleBucket(t *testing.T) {
	inRoundsBubble(t, 1, func(src *outbox, red *redisFake) {
		before, rounds := red.state().batches, red.state().published
		pass(10 * time.Minute)
		if got := red.state().batches - before; got > 11*l2.DefaultBuckets {
			t.Errorf("got %d batches in ten idle minutes, want one for each bucket a minute", got)
		}
		if got := red.state().published - rounds; got < 5900 || got > 6000 {
			t.Errorf("got %d rounds in ten minutes, want ten a second", got)
		}
		marks := red.state().watermarks
		src.add("a")
		pass(200 * time.Millisecond)
		moved := 0
		for b := range marks {
			if marks[b] != red.state().watermarks[b] {
				moved++
			}
		}
		if moved != 1 || red.version("a") != 1 || !red.state().round.Upto.Covers(at(1)) {
			t.Errorf("got version %d of a, %d buckets written and round %+v, want the change, in one bucket",
				red.version("a"), moved, red.state().round)
		}
	})
}

// The wakes of a busy source carry changes at once, and put no round off.
func TestRounds_ComeAtEveryInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &waking{outbox: newOutbox(), wake: make(chan struct{})}
		red := onServers(t, src.outbox, l2.AllBuckets(l2.DefaultBuckets))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src, Interval: 100 * time.Millisecond}.RunOn(ctx, red) })
		defer wg.Wait()
		defer cancel()
		pass(time.Second)
		before := red.state().published
		for i := range 100 {
			src.add(fmt.Sprint(i))
			src.wake <- struct{}{}
			pass(99 * time.Millisecond)
			if red.version(fmt.Sprint(i)) != 1 {
				t.Fatalf("change %d is not applied when it wakes the relay", i)
			}
		}
		if got := red.state().published - before; got < 97 || got > 100 {
			t.Errorf("got %d rounds in 9.9 seconds, want one for each interval of 100ms", got)
		}
	})
}

// ordered is a source that says what the round was when it was asked for its position.
type ordered struct {
	*outbox
	red   *redisFake
	early atomic.Int64
}

func (o *ordered) Position(ctx context.Context) (coherence.Position, error) {
	o.red.mu.Lock()
	if !o.red.round.IsZero() && o.red.round.Token == 0 {
		o.early.Add(1)
	}
	o.red.mu.Unlock()
	return o.outbox.Position(ctx)
}

func TestRounds_ReadTheSourceAfterTheyBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &ordered{outbox: newOutbox()}
		src.red = onServers(t, src.outbox, l2.AllBuckets(l2.DefaultBuckets))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src, Interval: 100 * time.Millisecond}.RunOn(ctx, src.red) })
		defer wg.Wait()
		defer cancel()
		pass(10 * time.Second)
		if n := src.early.Load(); n > 0 {
			t.Errorf("the source was read %d times before the round was begun, want never", n)
		}
		if src.red.round.Number < 90 {
			t.Errorf("got round %d after 10 seconds, want about 100", src.red.round.Number)
		}
	})
}

// R11
func TestRounds_ReplayWhatAFailOverLost(t *testing.T) {
	inRoundsBubble(t, 1, func(src *outbox, red *redisFake) {
		failOver := red.save()
		src.add("a")
		pass(time.Second)
		resets := red.state().resets
		red.mu.Lock()
		failOver()
		red.mu.Unlock()
		src.add("b")
		pass(time.Second)
		if red.version("a") != 1 || red.version("b") != 1 || red.state().resets != resets ||
			!red.state().round.Upto.Covers(at(2)) {
			t.Errorf("got versions %d and %d, %d resets and round %+v, want both applied, in the old buckets",
				red.version("a"), red.version("b"), red.state().resets-resets, red.state().round)
		}
	})
}

// A server takes over, after the batches and before the round, that has what came before them, the begun round too.
func TestRounds_AreRefusedWhereTheirBatchesAreMissing(t *testing.T) {
	inRoundsBubble(t, 1, func(src *outbox, red *redisFake) {
		var failOver func()
		red.mu.Lock()
		check, done := red.onApply, false
		red.onApply = func() {
			if !done {
				failOver()
				done = true
			}
			check()
		}
		red.mu.Unlock()
		src.onChanges(func() { // the round has begun, and nothing of it is applied
			red.mu.Lock()
			failOver = red.save()
			red.mu.Unlock()
		})
		src.add("a")
		pass(time.Second)
		src.add("b")
		pass(time.Second)
		if !done || red.version("a") != 1 || red.version("b") != 1 || !red.state().round.Upto.Covers(at(2)) {
			t.Errorf("got versions %d and %d, and round %+v, want both applied", red.version("a"), red.version("b"),
				red.state().round)
		}
	})
}

// R23
func TestRounds_OfTwoRelays(t *testing.T) {
	inRoundsBubble(t, 2, func(src *outbox, red *redisFake) {
		last := red.state().round
		for i := range 50 {
			src.add(fmt.Sprint(i % 7))
			pass(70 * time.Millisecond)
			if !red.state().round.Follows(last) {
				t.Errorf("got %+v after %+v", red.state().round, last)
			}
			last = red.state().round
		}
		pass(time.Second)
		if !red.state().round.Upto.Covers(at(50)) {
			t.Errorf("got round %+v, want all changes in it", red.state().round)
		}
	})
}

func TestRounds_GoOnWithoutTheLastOne(t *testing.T) {
	inRoundsBubble(t, 1, func(src *outbox, red *redisFake) {
		src.add("a")
		pass(time.Second)
		red.mu.Lock()
		red.round = l2.Round{}
		resets := red.resets
		red.mu.Unlock()
		pass(time.Second)
		src.add("b")
		pass(time.Second)
		if red.state().resets != resets || red.version("b") != 1 || !red.state().round.Upto.Covers(at(2)) {
			t.Errorf("got %d resets, version %d and round %+v, want new rounds over the old buckets",
				red.state().resets-resets, red.version("b"), red.state().round)
		}
	})
}

func TestRounds_NameTheIncarnationOfABucketThatLostItsWatermark(t *testing.T) {
	inRoundsBubble(t, 1, func(_ *outbox, red *redisFake) {
		before := red.state().round.Incarnations
		red.mu.Lock()
		red.watermarks[5] = l2.Watermark{}
		red.mu.Unlock()
		pass(2 * time.Second)
		red.mu.Lock()
		defer red.mu.Unlock()
		if red.watermarks[5].IsZero() || red.round.Incarnations == before || red.round.Incarnations != red.digest() {
			t.Errorf("got the watermark %+v and round %+v, want a new incarnation in both", red.watermarks[5],
				red.round)
		}
	})
}

// The bucket is started again on a server that is replaced before the round is published: the other one has not heard.
func TestRounds_NameNoIncarnationThatIsGone(t *testing.T) {
	inRoundsBubble(t, 1, func(_ *outbox, red *redisFake) {
		red.mu.Lock()
		defer red.mu.Unlock()
		whole := red.watermarks[5]
		red.watermarks[5] = l2.Watermark{}
		red.onReset = func() {
			red.watermarks[5] = whole
			red.onReset = nil
		}
		red.mu.Unlock()
		pass(2 * time.Second) // the fake checks what is published
		red.mu.Lock()
		if red.onReset != nil || red.round.Incarnations != red.digest() {
			t.Errorf("got round %+v, want one of the buckets' incarnations", red.round)
		}
	})
}

// A bucket that is found behind shows that Redis went back: nothing may be applied by what was known before, not even
// until the next round.
func TestRounds_TrustNothingOnceABucketIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &waking{outbox: newOutbox(), wake: make(chan struct{})}
		red := onServers(t, src.outbox, l2.AllBuckets(l2.DefaultBuckets))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = relay.Relay{Source: src, Interval: time.Minute}.RunOn(ctx, red) })
		defer wg.Wait()
		defer cancel()
		pass(time.Second)
		red.mu.Lock()
		failOver := red.save()
		red.mu.Unlock()
		add := func(key string) {
			src.add(key)
			src.wake <- struct{}{}
			synctest.Wait()
		}
		add("a")
		pass(2 * time.Minute) // a round comes to it
		red.mu.Lock()
		failOver()
		red.mu.Unlock()
		neighbour := neighbourOf("a")
		add(neighbour) // is refused
		add(neighbour) // the fake checks what the bucket says after it
		pass(2 * time.Minute)
		if red.version("a") != 1 || red.version(neighbour) != 2 || !red.state().round.Upto.Covers(at(3)) {
			t.Errorf("got versions %d and %d, and round %+v, want 1 and 2, in the round", red.version("a"),
				red.version(neighbour), red.state().round)
		}
	})
}

// neighbourOf is another key of a key's bucket.
func neighbourOf(key string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint("k", i); keys.Key("n", other).Bucket == keys.Key("n", key).Bucket {
			return other
		}
	}
}

// A relay goes on from the last round, not from the watermark of the bucket that has been idle for longest.
func TestRounds_AreTheCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &waking{outbox: newOutbox(), wake: make(chan struct{})}
		red := onServers(t, src.outbox, l2.AllBuckets(l2.DefaultBuckets))
		for term := range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _ = relay.Relay{Source: src, Interval: 100 * time.Millisecond}.RunOn(ctx, red) })
			pass(time.Second)
			if told := src.told.Load(); told != int64(20*term) {
				t.Errorf("term %d: got %d changes from the source, want each of the 20 once", term, told)
			}
			for i := range 20 * (1 - term) {
				src.add(fmt.Sprint(i))
			}
			pass(time.Second)
			cancel()
			wg.Wait()
		}
	})
}
