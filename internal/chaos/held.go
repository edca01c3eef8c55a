//go:build unix

package chaos

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
)

// The cache whose loads can be held. A key of it is read only while the fault leasesEnd works on it: nobody's later
// fill shortens a wait that should have ended before. A reader that is not woken sleeps for the lease, longer than
// the rule of waits allows.
const (
	heldNamespace = "held"
	heldTTL       = 2 * time.Second
	heldWait      = 2500 * time.Millisecond // LeaseWait
	heldFor       = 3 * time.Second         // a load that nothing ends earlier, and its LoadTimeout
	// firstHeld is the cache's first key in the history.
	firstHeld = 1 << 25
)

// How a lease ends without a fill.
const (
	endsFailed      = "failed"      // its Loader fails
	endsInvalidated = "invalidated" // a change of the absent key is applied
	endsEvicted     = "evicted"     // Redis drops it
)

var errHeld = errors.New("chaos: a load that was held fails")

// heldLoads are the keys whose next load on this instance is held.
type heldLoads struct {
	mu    sync.Mutex
	loads map[uint32]*heldLoad
}

type heldLoad struct {
	begun chan struct{} // closed when the Loader runs
	fails chan struct{} // closed to make it fail
}

func (h *heldLoads) add(k uint32) *heldLoad {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.loads == nil {
		h.loads = make(map[uint32]*heldLoad)
	}
	h.loads[k] = &heldLoad{begun: make(chan struct{}), fails: make(chan struct{})}
	return h.loads[k]
}

// take returns the load of a key that is to be held, nil if none is, and holds no further one.
func (h *heldLoads) take(k uint32) *heldLoad {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.loads[k]
	delete(h.loads, k)
	return l
}

// openHeld opens the cache.
func (m *instance) openHeld() (err error) {
	m.held, err = nearcache.NewCache(m.client, heldNamespace, nearcache.Options[uint32, int64]{Load: m.loadHeld,
		TTL: 10 * time.Second, LoadTimeout: heldFor, LeaseTTL: heldTTL, LeaseWait: heldWait})
	return err
}

func (m *instance) loadHeld(ctx context.Context, k uint32) (nearcache.Entry[int64], error) {
	e := nearcache.Entry[int64]{Value: int64(k)} // the source counts no versions of this namespace
	l := m.holding.take(k)
	if l == nil {
		_, err := m.store.bulk(ctx, k%uint32(m.Keys)) // as slow as the source is
		return e, err
	}
	close(l.begun)
	select {
	case <-l.fails:
		return e, errHeld
	case <-ctx.Done():
		return e, ctx.Err()
	}
}

// The commands about a key of the cache: they begin a load that is held, and a read that waits for it. The others say
// how its lease ends.
const (
	holdLoad  = "hold"
	awaitLoad = "await"
)

// executeHeld carries out a command about a key.
func (m *instance) executeHeld(ctx context.Context, what, key string) error {
	n, err := strconv.ParseUint(key, 10, 32)
	if err != nil {
		return err
	}
	k := uint32(n)
	switch what {
	case holdLoad:
		m.hold(ctx, k)
	case awaitLoad:
		m.readers.Go(func() { m.readHeld(ctx, k) })
	case endsFailed:
		if m.lead != nil {
			close(m.lead.fails)
			m.lead = nil
		}
	case endsInvalidated:
		m.tell(m.held.Invalidate(ctx, k, 0))
	case endsEvicted:
		m.tell(m.evictLease(ctx, key))
	}
	return nil
}

// hold begins a read whose load is held, and returns when the Loader runs; or later, if it does not.
func (m *instance) hold(ctx context.Context, k uint32) {
	m.lead = m.holding.add(k)
	m.readers.Go(func() {
		if _, err := m.held.Get(ctx, k); err != nil && !errors.Is(err, errHeld) {
			m.complain(err)
		}
	})
	select {
	case <-m.lead.begun:
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

// readHeld makes a read that waits for another instance's load. There is no ground truth of these keys, so only the
// time that the read takes is judged.
func (m *instance) readHeld(ctx context.Context, k uint32) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	m.timed(firstHeld+k, func() error {
		_, err := m.held.Get(ctx, k)
		return err
	})
}

// timed records the time that a read takes.
func (m *instance) timed(key uint32, read func() error) {
	r := history.Record{Op: history.Plain, Key: key, Tier: history.Hidden, Flags: history.Unknown, Invoke: m.hist.Now()}
	err := read()
	r.Return = m.hist.Now()
	if ignoreAbsent(err) != nil {
		r.Flags, r.Tier = history.Failed, history.None
		m.complain(err)
	}
	m.reads.Add(1)
	m.hist.Append(&r)
}

// evictLease deletes the lease of a key, as Redis does when it has no memory left.
func (m *instance) evictLease(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	redis, err := m.connect()
	if err != nil {
		return err
	}
	defer redis.Close()
	keys := l2.NewKeyspace("")
	return redis.Do(ctx, redis.B().Del().Key(keys.Key(heldNamespace, name).Lease).Build()).Error()
}

// tell logs an error of a command that may fail while something else is broken.
func (m *instance) tell(err error) {
	if err != nil {
		m.complain(err)
	}
}

// leasesEnd has one instance hold the loads of some keys, and the others wait for them. Then each lease ends without a
// fill, in one way after the other. The waiting reads must notice it, for a read that is not woken sleeps until the
// lease would have expired.
func leasesEnd(ctx context.Context, in *injection) error {
	names := in.instances()
	in.rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	holder, waiting := names[:1], names[1:]
	for _, end := range []string{endsEvicted, endsInvalidated, endsFailed} {
		key := strconv.FormatUint(uint64(in.rnd.Uint32N(1<<24)), 10)
		if err := in.command(ctx, holdLoad+" "+key, holder); err != nil {
			return err
		}
		if err := in.command(ctx, awaitLoad+" "+key, waiting); err != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
		if err := in.command(ctx, end+" "+key, holder); err != nil {
			return err
		}
	}
	return nil
}
