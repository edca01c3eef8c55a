package relay_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// This file has the rounds in a Cluster, where each server has one of its own.

// threeServers have a third of the buckets each; 0, 1 and 2 are the least of them.
func threeServers() []l2.BucketSet {
	servers := make([]l2.BucketSet, 3)
	for b := range l2.DefaultBuckets {
		servers[b%3].Add(b)
	}
	return servers
}

// hasBucket reports whether a round stands for a bucket.
func hasBucket(r l2.Round, bucket int) bool { return r.Buckets.Has(bucket) }

// keyIn is a key of a bucket.
func keyIn(t *testing.T, bucket int) string {
	t.Helper()
	for i := range 10_000 {
		if name := string(rune('a'+i%26)) + time.Duration(i).String(); keys.Key("n", name).Bucket == bucket {
			return name
		}
	}
	t.Fatal("no key of the bucket")
	return ""
}

// bucketState is what a server has of one bucket.
type bucketState struct {
	watermark l2.Watermark
	applied   coherence.Version
}

// set makes a bucket, which has no other key, what it was. The caller holds r.mu.
func (r *redisFake) set(bucket int, key string, to bucketState) {
	r.watermarks[bucket], r.applied[key] = to.watermark, to.applied
}

func TestServers_HaveARoundEach(t *testing.T) {
	inServersBubble(t, 1, threeServers(), func(src *outbox, red *redisFake) {
		before := red.state()
		pass(time.Minute)
		now := red.state()
		if got := now.batches - before.batches; got > 7*l2.DefaultBuckets {
			t.Errorf("got %d batches in an idle minute, want one for each bucket in ten seconds", got)
		}
		if got := now.published - before.published; got < 3*590 || got > 3*600 {
			t.Errorf("got %d rounds in a minute, want ten a second on each server", got)
		}
		if now.round.Elsewhere != l2.SetOf(1, 2) {
			t.Errorf("got %v named, want buckets 1 and 2", now.round.Elsewhere)
		}
		key := keyIn(t, 4)
		src.add(key)
		pass(200 * time.Millisecond)
		now = red.state()
		if red.version(key) != 1 || !now.round.Upto.Covers(at(1)) || !now.elsewhere[1].Upto.Covers(at(1)) ||
			!hasBucket(now.elsewhere[1], 4) || !now.elsewhere[1].Head.IsZero() {
			t.Errorf("got version %d, round %+v and %+v, want the change in both", red.version(key), now.round,
				now.elsewhere[1])
		}
	})
}

// One server takes over without the last batch, after the relay has heard that it was applied. The other two stand.
func TestServers_RefuseARoundWhoseBatchIsMissing(t *testing.T) {
	inServersBubble(t, 1, threeServers(), func(src *outbox, red *redisFake) {
		key, lost := keyIn(t, 4), false
		red.mu.Lock()
		check, was := red.onApply, bucketState{red.watermarks[4], 0}
		red.onApply = func() {
			if !lost && red.applied[key] == 1 {
				red.set(4, key, was)
				lost = true
			}
			check()
		}
		red.mu.Unlock()
		src.add(key)
		pass(time.Second)
		if now := red.state(); !lost || red.version(key) != 1 || !now.elsewhere[1].Upto.Covers(at(1)) {
			t.Errorf("got version %d and round %+v, want the change applied again", red.version(key), now.elsewhere[1])
		}
	})
}

// Between two rounds a bucket goes to another server, which loses its last change, and comes back. Its server stands,
// and so does the round there.
func TestServers_NoticeABucketThatComesBackOlder(t *testing.T) {
	for name, stopped := range map[string]bool{"while the relay works": false, "while none does": true} {
		t.Run(name, func(t *testing.T) { noticesOlderBucket(t, stopped) })
	}
}

func noticesOlderBucket(t *testing.T, stopped bool) {
	synctest.Test(t, func(t *testing.T) {
		src := newOutbox()
		red := onServers(t, src, threeServers()...)
		var wg sync.WaitGroup
		defer wg.Wait()
		run := func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			wg.Go(func() {
				defer close(done)
				if err := (relay.Relay{Source: src}).RunOn(ctx, red); err != nil {
					t.Error(err)
				}
			})
			return func() { cancel(); <-done }
		}
		stop := run()
		pass(time.Second)
		key := keyIn(t, 4)
		red.mu.Lock()
		was := bucketState{red.watermarks[4], 0}
		red.mu.Unlock()
		src.add(key)
		pass(time.Second)
		if stopped {
			stop()
		}
		red.mu.Lock()
		if red.applied[key] != 1 {
			t.Error("the change has not been applied")
		}
		red.set(4, key, was)
		last := red.elsewhere[1].Number
		red.onApply, red.onPublish = nil, func() {
			if r := red.elsewhere[1]; r.Number > last && r.Upto.Covers(at(1)) && red.applied[key] != 1 {
				t.Errorf("round %d claims %v, and the change is not applied", r.Number, r.Upto)
			}
		}
		red.mu.Unlock()
		if stopped {
			stop = run()
		}
		pass(time.Second)
		if red.version(key) != 1 {
			t.Error("the change is not applied again")
		}
		stop()
	})
}

// A bucket goes to another server. The rounds follow it.
func TestServers_FollowABucket(t *testing.T) {
	inServersBubble(t, 1, threeServers(), func(src *outbox, red *redisFake) {
		red.mu.Lock()
		red.servers[1].Remove(4)
		red.servers[2].Add(4)
		red.mu.Unlock()
		key := keyIn(t, 4)
		src.add(key)
		pass(time.Second)
		now := red.state()
		if hasBucket(now.elsewhere[1], 4) || !hasBucket(now.elsewhere[2], 4) || !now.elsewhere[2].Upto.Covers(at(1)) ||
			red.version(key) != 1 {
			t.Errorf("got version %d, and the rounds %+v and %+v, want bucket 4 in the second one", red.version(key),
				now.elsewhere[1], now.elsewhere[2])
		}
	})
}

// A Cluster whose servers let no script read the watermarks of several slots: the watermarks are moved instead.
func TestServers_ThatRefuseRoundsGetWatermarks(t *testing.T) {
	inServersBubble(t, 1, threeServers(), func(src *outbox, red *redisFake) {
		red.mu.Lock()
		red.refuses = errAnswered
		red.mu.Unlock()
		pass(2 * time.Second)
		key := keyIn(t, 4)
		src.add(key)
		pass(200 * time.Millisecond)
		now := red.state()
		for b, w := range now.watermarks {
			if !w.Position.Covers(at(1)) {
				t.Fatalf("bucket %d is at %v, want every bucket's watermark moved", b, w.Position)
			}
		}
		if !now.round.Buckets.IsZero() || !now.round.Elsewhere.IsZero() || !now.round.Upto.Covers(at(1)) {
			t.Errorf("got round %+v, want one that stands for no bucket", now.round)
		}
		red.mu.Lock()
		red.refuses = nil
		red.mu.Unlock()
		pass(2 * time.Minute)
		if now := red.state(); now.round.Buckets != red.servers[0] || !now.elsewhere[1].Upto.Covers(at(1)) {
			t.Errorf("got round %+v, want rounds of the servers once they are taken", now.round)
		}
	})
}
