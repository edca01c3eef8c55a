package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// In a Cluster a node that does not answer must not hold up the buckets of the others. An applier parts with the
// buckets that fail: another applier, without rounds, carries changes to them, tries again and again, and gives them
// back when it has caught up. Meanwhile the rounds stand for the other buckets. The protocol asks for no more: the
// watermark of each bucket says what that bucket has, and a round says what its own buckets have.
//
// If the first node is the one that is gone, no round can be begun. Then the instances ask the source for its position
// themselves, and the rounds of the other nodes go on saying what these have.

const (
	// patienceRounds is for how many intervals a step waits for one of several nodes, but at least leastPatience.
	patienceRounds = 2
	leastPatience  = 150 * time.Millisecond
	// mostPartWait is the longest pause of a part that fails.
	mostPartWait = 250 * time.Millisecond
	// partTimeout bounds a round of a part: its nodes are likely not to answer.
	partTimeout = time.Second
)

// partError says of which buckets a step failed.
type partError struct {
	of    l2.BucketSet
	cause error
}

func (e *partError) Error() string { return e.cause.Error() }
func (e *partError) Unwrap() error { return e.cause }

func (e *partError) add(bucket int, err error) {
	if e.cause == nil {
		e.cause = err
	}
	e.of.Add(bucket)
}

func failedOf(of l2.BucketSet, err error) error {
	if err == nil {
		return nil
	}
	return &partError{of, err}
}

// backQueue takes the buckets that parts give back.
type backQueue struct {
	mu sync.Mutex
	of l2.BucketSet
}

// patience bounds a step where there are several nodes.
func (a *applier) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.parted || a.rounds.whole() || len(a.rounds.servers) == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, max(patienceRounds*a.Interval, leastPatience))
}

// mayPart reports whether others are left without some buckets, in a Cluster.
func (a *applier) mayPart(with l2.BucketSet) bool {
	left := a.of.Minus(with)
	return !a.parted && !a.rounds.whole() && len(a.rounds.servers) > 0 && !left.IsZero()
}

// exclude keeps buckets out of what follows in this round; partWith gives them to a part at its end.
func (a *applier) exclude(failed *partError) {
	a.rounds.failed.of = a.rounds.failed.of.Union(failed.of)
	if a.rounds.failed.cause == nil {
		a.rounds.failed.cause = failed.cause
	}
	a.of = a.of.Minus(failed.of)
}

// partWith gives the buckets that have failed to an applier of their own.
func (a *applier) partWith(ctx context.Context, err *error) {
	var failed *partError
	if errors.As(*err, &failed) && a.mayPart(failed.of) {
		a.exclude(failed)
		*err = nil
	}
	with := a.rounds.failed
	a.rounds.failed = partError{}
	if with.of.IsZero() {
		return
	}
	a.Logger.Warn("relaying goes on without some buckets of Redis", "buckets", with.of.Len(), "error", with.cause)
	part := &applier{relayRun: a.relayRun, of: with.of, parted: true,
		progress: progress{relayRun: a.relayRun, channel: "redis"}}
	part.rounds.servers = []server{{leader: l2.RoundBucket}}
	channel := "redis part " + time.Now().String()
	a.pass(channel, coherence.Position{})
	a.parts.Go(func() {
		defer part.parts.Wait()
		defer a.unpass(channel)
		if part.catchUp(ctx) {
			a.Logger.Info("relaying to all of them again", "buckets", with.of.Len())
			a.back.mu.Lock()
			a.back.of = a.back.of.Union(with.of)
			a.back.mu.Unlock()
		}
	})
}

// catchUp runs rounds until one has nothing left to carry. It reports whether that came before the end of ctx.
func (a *applier) catchUp(ctx context.Context) bool {
	wait := min(a.Interval, mostPartWait)
	for ctx.Err() == nil {
		more, err := a.round(ctx)
		switch {
		case err != nil:
			a.m.errors.WithLabelValues("redis").Inc()
			sleep(ctx, wait)
			wait = min(2*wait, mostPartWait)
		case !more && !a.seen.IsZero():
			return ctx.Err() == nil
		}
	}
	return false
}

// takeBack takes what parts have given back. Which server has those buckets now is looked up again, and where they are.
func (a *applier) takeBack() {
	a.back.mu.Lock()
	of := a.back.of
	a.back.of = l2.BucketSet{}
	a.back.mu.Unlock()
	if !of.IsZero() {
		a.of = a.of.Union(of)
		a.loaded = false
	}
}
