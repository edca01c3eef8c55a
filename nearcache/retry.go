package nearcache

import (
	"context"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/tier"
)

// maxRetries bounds the invalidations that wait for Redis to come back.
const maxRetries = 1 << 16

// retry repeats invalidations that L2 could not be told, one pending change a key, until it takes them. If more than
// maxRetries keys are pending, further ones are dropped and counted: the relay, where there is one, carries them anyway.
type retry struct {
	apply func(context.Context, []tier.Change) error
	done  func(tier.Change)
	drop  func()

	mu      sync.Mutex
	pending map[string]tier.Change // by record
	wake    chan struct{}
}

func newRetry(apply func(context.Context, []tier.Change) error, done func(tier.Change), drop func()) *retry {
	return &retry{apply: apply, done: done, drop: drop, pending: make(map[string]tier.Change), wake: make(chan struct{}, 1)}
}

// add queues a change. Of two changes of a key one without a version wins, since it deletes whatever there is, and else
// the newer.
func (r *retry) add(ch tier.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.pending[ch.Key.Record]
	switch {
	case !ok && len(r.pending) >= maxRetries:
		r.drop()
		return
	case ok && (old.Version == 0 || ch.Version != 0 && ch.Version <= old.Version):
		return
	}
	r.pending[ch.Key.Record] = ch
	signal(r.wake)
}

func (r *retry) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// batch takes up to n changes; those that fail are added again.
func (r *retry) batch(n int) (out []tier.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, ch := range r.pending {
		if len(out) == n {
			break
		}
		out = append(out, ch)
		delete(r.pending, k)
	}
	return out
}

// run repeats until ctx ends, more and more slowly while it fails.
func (r *retry) run(ctx context.Context) {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	wait := least
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for r.len() > 0 {
			batch := r.batch(256)
			if err := r.apply(ctx, batch); err == nil {
				wait = least
				for _, ch := range batch {
					r.done(ch)
				}
				continue
			}
			for _, ch := range batch {
				r.add(ch)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
				wait = min(2*wait, most)
			}
		}
	}
}
