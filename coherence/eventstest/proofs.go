package eventstest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

func wantBarriers(t T, h Harness) {
	t.Helper()
	if h.NoBarriers {
		t.Skipf("the followers drop barriers")
	}
}

// covered checks that whatever a barrier covers took effect before the barrier was delivered.
func (r *relay) covered(f *follower, p int) {
	r.t.Helper()
	took := make(map[string]bool)
	for _, e := range f.of(p) {
		switch e.kind {
		case delivered:
			took[e.event.Key] = true
		case barrier:
			for _, was := range r.published[p] {
				if was.at <= e.at && !took[was.key] {
					r.t.Errorf("partition %d: the barrier at %d was delivered before %s, which it covers", p, e.at, was.key)
					return
				}
			}
		}
	}
}

func barriersAfter(t T, h Harness) {
	wantBarriers(t, h)
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	var last uint64
	for i := range 30 {
		for range i % 4 {
			r.events()
		}
		last = r.barrier()
	}
	for p := range r.n {
		eventually(t, fmt.Sprintf("the last barrier reaches partition %d", p), func() bool { return f.hasBarrier(p, last) })
		r.covered(f, p)
		if n := f.count(p, session); n != 1 {
			t.Errorf("partition %d: %d sessions, though nothing happened", p, n)
		}
	}
}

// barriersWait: no barrier overtakes an event that has not taken effect yet.
func barriersWait(t T, h Harness) {
	wantBarriers(t, h)
	r := newRelay(t, h)
	f, free := following(t, h, r.n), following(t, h, r.n)
	defer f.stop()
	defer free.stop()
	release := f.hold()
	defer release()
	var last uint64
	for range 5 {
		r.events()
		last = r.barrier()
	}
	for p := range r.n {
		eventually(t, fmt.Sprintf("a follower that does not wait has the barrier of partition %d", p), func() bool {
			return free.hasBarrier(p, last)
		})
	}
	for p := range r.n {
		if f.hasBarrier(p, 1) {
			t.Errorf("partition %d: a barrier was delivered while an event that it covers waited", p)
		}
	}
	release()
	for p := range r.n {
		eventually(t, fmt.Sprintf("the last barrier reaches partition %d", p), func() bool { return f.hasBarrier(p, last) })
		r.covered(f, p)
	}
}

// barriersGap leaves a number out, as a relay does that could not publish an event.
func barriersGap(t T, h Harness) {
	wantBarriers(t, h)
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	r.events()
	first := r.barrier()
	for p := range r.n {
		eventually(t, "the first barrier comes", func() bool { return f.hasBarrier(p, first) })
	}
	r.at++
	for p := range r.seqs {
		r.seqs[p]++
	}
	last := r.barrier()
	for p := range r.n {
		eventually(t, fmt.Sprintf("the barrier behind the gap reaches partition %d", p), func() bool {
			return f.hasBarrier(p, last)
		})
		sessions := 0
		for _, e := range f.of(p) {
			if e.kind == session {
				sessions++
			}
			if e.kind == barrier && e.at >= last && sessions < 2 {
				t.Errorf("partition %d: an event is missing, and a barrier behind it was delivered without a session", p)
				break
			}
		}
	}
}

// forgedAt is a position that no relay of the suite has.
const forgedAt = 1 << 40

func barriersForged(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	forged := append([]string{
		fmt.Sprintf(`{"barrier":true,"seq":9,"partitions":%d,"position":{"timeline":"1","n":%d}}`, r.n, forgedAt),
		fmt.Sprintf(`{"barrier":{"seq":9,"partitions":%d,"position":{"timeline":"1","n":%d}}}`, r.n, forgedAt),
	}, h.Forged...)
	for _, value := range forged {
		write(t, h, 0, value)
	}
	f.delivers(r.events())
	if h.NoBarriers {
		return
	}
	last := r.barrier()
	for p := range r.n {
		eventually(t, "the relay's barrier comes", func() bool { return f.hasBarrier(p, last) })
		if f.hasBarrier(p, forgedAt) {
			t.Errorf("partition %d: a barrier was delivered that the relay did not write", p)
		}
	}
}

func barriersDropped(t T, h Harness) {
	if !h.NoBarriers {
		t.Skipf("the followers deliver barriers")
	}
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	r.events()
	r.barrier()
	f.delivers(r.events())
	for p := range r.n {
		if f.count(p, barrier) > 0 {
			t.Errorf("partition %d: a barrier was delivered", p)
		}
	}
}

// numbersForeign: a number that somebody else writes neither ends a session nor hides a gap.
func numbersForeign(t T, h Harness) {
	wantBarriers(t, h)
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	r.events()
	first := r.barrier()
	write(t, h, 0, `{"namespace":"n","key":"f","version":1,"seq":1152921504606846976,`+
		`"position":{"timeline":"1","n":1152921504606846976}}`)
	r.events()
	second := r.barrier()
	eventually(t, "the barrier after it comes", func() bool { return f.hasBarrier(0, second) && second > first })
	if n := f.count(0, session); n != 1 {
		t.Errorf("a number of another writer made %d sessions", n)
	}
	r.at++
	r.seqs[0]++ // one is missing
	last := r.barrier()
	eventually(t, "the barrier behind the gap comes", func() bool { return f.hasBarrier(0, last) })
	if n := f.count(0, session); n < 2 {
		t.Errorf("a number of another writer hid a gap")
	}
}

// asker waits until the follower can be asked for positions.
func (f *follower) asker() func(ctx context.Context) (coherence.Position, error) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.position == nil {
		f.t.Skipf("the followers show no positions")
	}
	return f.position
}

// rounds publishes rounds as the relay does until ctx ends: it asks for the head after the round before was published.
// Between the two it takes its time, so that questions come just then. Some rounds fail before they are sent.
func (r *relay) rounds(ctx context.Context, commits *atomic.Uint64) {
	for ctx.Err() == nil {
		head := commits.Load()
		pause(ctx, 3*time.Millisecond)
		if ctx.Err() != nil {
			return
		}
		r.at = head
		batch := r.barriers(head)
		if r.round%5 == 0 {
			continue // a round that was not published
		}
		_ = r.h.Publisher.Publish(ctx, batch)
	}
}

func positionsCover(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	position := f.asker()
	var commits atomic.Uint64
	commits.Store(1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	rounding := make(chan struct{})
	go func() { defer close(rounding); r.rounds(ctx, &commits) }()
	defer func() { cancel(); <-rounding }()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 20 {
				committed := commits.Add(1)
				at, err := position(ctx)
				if err != nil {
					t.Errorf("no position: %v", err)
					return
				}
				if at.Timeline != timeline || at.N < committed {
					t.Errorf("the position is %v; %d was committed before the question", at, committed)
					return
				}
			}
		})
	}
	wg.Wait()
}

// positionsWait: without a relay that tells of rounds there is no position, and what was told before is none.
func positionsWait(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	position := f.asker()
	r.at = 5
	r.publish(r.barriers(5))
	r.publish(r.barriers(5))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if at, err := position(ctx); err == nil {
		t.Errorf("the position is %v, though no round was begun after the question", at)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := position(ended); err == nil || errors.Is(err, coherence.ErrMisconfigured) {
		t.Errorf("a question whose context has ended is answered with %v", err)
	}
}
