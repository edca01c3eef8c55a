//go:build unix

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/nearcache"
)

const (
	readBatch   = 4 * time.Millisecond // readers are paced in batches: a timer for each read would cost more than the read
	readTimeout = 3 * time.Second
	staleCap    = 5 * time.Second
)

// keys draws keys: a few are hot.
type keys struct{ zipf *rand.Zipf }

func newKeys(rnd *rand.Rand, n int) keys {
	return keys{rand.NewZipf(rnd, 1.2, 8, uint64(n-1))}
}

func (k keys) next() uint32 { return uint32(k.zipf.Uint64()) }

// read reads at the instance's rate until ctx ends. A reader that was held up does not make up for it.
func (m *fleetMember) read(ctx context.Context, reader int) {
	rnd := rand.New(rand.NewPCG(m.Seed, uint64(m.Process)<<16|uint64(reader)))
	ks := newKeys(rnd, m.Keys)
	t := time.NewTicker(readBatch)
	defer t.Stop()
	owed := 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		owed = min(owed, 1) + m.Rate/float64(m.Readers)*readBatch.Seconds()
		batch, cancel := context.WithTimeout(ctx, readTimeout)
		for ; owed >= 1; owed-- {
			k := ks.next()
			switch n := rnd.IntN(1000); {
			case n < 250:
				m.get(batch, k)
			case n < 450:
				m.observe(batch, k, history.Plain, nearcache.ReadOptions{MaxStaleness: -1})
			case n < 900:
				m.observe(batch, k, history.Bounded, nearcache.ReadOptions{MaxStaleness: m.Bound})
			case n < 960:
				m.observe(batch, k, history.ServeStale, nearcache.ReadOptions{MaxStaleness: m.Bound, ServeStale: staleCap})
			case n < 990:
				m.observe(batch, k, history.AtLeast, nearcache.ReadOptions{MaxStaleness: -1, AtLeast: nearcache.Version(m.latest[k].Load())})
			default:
				m.observe(batch, k, history.Fresh, nearcache.ReadOptions{Fresh: true})
			}
		}
		cancel()
	}
}

// get reads as most do. Where it is the cache's default, the bound holds.
func (m *fleetMember) get(ctx context.Context, k uint32) {
	rec := history.Record{Op: history.Plain, Key: k, Tier: history.Hidden, Invoke: m.hist.Now()}
	if m.Default {
		rec.Op, rec.Bound = history.Bounded, m.Bound
	}
	v, err := m.cache.Get(ctx, k)
	rec.Return = m.hist.Now()
	switch {
	case err == nil:
		rec.Version, rec.Hash = v.Version, hashOf(v.Body)
	case errors.Is(err, nearcache.ErrNotFound):
		rec.Flags = history.Absent | history.Unknown
	default:
		rec.Flags, rec.Tier = history.Failed, history.None
	}
	m.reads.Add(1)
	m.hist.Append(&rec)
}

// observe reads and records what came of it.
func (m *fleetMember) observe(ctx context.Context, k uint32, op history.Op, ro nearcache.ReadOptions) {
	rec := history.Record{Op: op, Key: k, Bound: max(0, ro.MaxStaleness), Param: uint64(ro.AtLeast)}
	if op == history.ServeStale {
		rec.Param = uint64(ro.ServeStale)
	}
	if op == history.Fresh && m.Default {
		rec.Bound = m.Bound
	}
	rec.Invoke = m.hist.Now()
	r, err := m.cache.Read(ctx, k, ro)
	rec.Return = m.hist.Now()
	rec.Version, rec.Tier, rec.Staleness, rec.Age = uint64(r.Version), history.Tier(r.Tier), r.Staleness, r.Age
	if r.Stale {
		rec.Flags |= history.Stale
	}
	switch {
	case err == nil:
		rec.Hash = hashOf(r.Value.Body)
	case errors.Is(err, nearcache.ErrNotFound):
		rec.Flags |= history.Absent
	case errors.Is(err, nearcache.ErrNotReady) && op == history.AtLeast:
		rec.Flags = history.Failed | history.NotReady
	default:
		rec.Flags = history.Failed
	}
	if rec.Flags&history.Failed == 0 {
		m.saw(k, rec.Version)
		if op == history.Bounded && r.Tier == nearcache.TierL1 {
			m.bounded.Store(rec.Invoke)
		}
	}
	m.reads.Add(1)
	m.hist.Append(&rec)
}

// saw remembers the newest version of a key, for reads that ask for it.
func (m *fleetMember) saw(k uint32, version uint64) {
	for {
		old := m.latest[k].Load()
		if version <= old || m.latest[k].CompareAndSwap(old, version) {
			return
		}
	}
}

// sweep reads every key.
func (m *fleetMember) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 4*readTimeout)
	defer cancel()
	for k := range uint32(m.Keys) {
		m.observe(ctx, k, history.Sweep, nearcache.ReadOptions{MaxStaleness: -1})
	}
}
