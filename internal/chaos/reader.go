//go:build unix

package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
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

// readerSlot paces one reader at a time. A slow read, because a service does not answer, goes on without the slot,
// and another reader gets it. Otherwise such reads would soon hold all slots, and nothing that L1 can serve would be
// read.
type readerSlot struct {
	n     int
	turn  atomic.Int64 // counts the readers that had it
	since atomic.Int64 // when the present read began, 0 between two reads
}

// slowRead is how long a read may take until its reader loses the slot. maxReaders bounds the readers of an instance.
const (
	slowRead   = 10 * time.Millisecond
	maxReaders = 1000
)

// readAll keeps a reader in every slot until ctx ends.
func (m *instance) readAll(ctx context.Context) {
	var wg sync.WaitGroup
	var running atomic.Int64
	start := func(c *readerSlot, turn int64) {
		running.Add(1)
		wg.Go(func() {
			defer running.Add(-1)
			m.read(ctx, c, turn)
		})
	}
	slots := make([]readerSlot, m.Readers)
	for i := range slots {
		slots[i].n = i
		start(&slots[i], 0)
	}
	t := time.NewTicker(slowRead / 2)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		now := m.hist.Now()
		for i := range slots {
			c := &slots[i]
			if since := c.since.Load(); since != 0 && now-since > int64(slowRead) && running.Load() < maxReaders {
				c.since.Store(0)
				start(c, c.turn.Add(1))
			}
		}
	}
	wg.Wait()
}

// read reads at the slot's rate until ctx ends or another reader has got the slot. A reader that was held up does not
// make up for it.
func (m *instance) read(ctx context.Context, c *readerSlot, turn int64) {
	rnd := rand.New(rand.NewPCG(m.Seed, uint64(m.Process)<<48|uint64(c.n)<<32|uint64(turn)))
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
			c.since.Store(m.hist.Now())
			if m.nestedRead(rnd) {
				m.readOuter(batch, rnd)
			} else if rnd.IntN(100) == 0 {
				m.readSome(batch, rnd, ks)
			} else {
				m.readOnce(batch, rnd, ks.next())
			}
			if c.turn.Load() != turn {
				cancel()
				return
			}
		}
		c.since.Store(0)
		cancel()
	}
}

// readOnce makes one read, of a kind drawn by chance.
func (m *instance) readOnce(ctx context.Context, rnd *rand.Rand, k uint32) {
	switch n := rnd.IntN(1000); {
	case n < 250:
		m.get(ctx, k)
	case n < 450:
		m.observe(ctx, k, history.Plain, nearcache.ReadOptions{MaxStaleness: -1})
	case n < 900:
		m.observe(ctx, k, history.Bounded, nearcache.ReadOptions{MaxStaleness: m.Bound})
	case n < 960:
		m.observe(ctx, k, history.ServeStale, nearcache.ReadOptions{MaxStaleness: m.Bound, ServeStale: staleCap})
	case n < 990:
		m.observe(ctx, k, history.AtLeast,
			nearcache.ReadOptions{MaxStaleness: -1, AtLeast: nearcache.Version(m.latest[k].Load())})
	default:
		m.observe(ctx, k, history.Fresh, nearcache.ReadOptions{Fresh: true})
	}
}

// get reads as most do. Where it is the cache's default, the bound holds.
func (m *instance) get(ctx context.Context, k uint32) {
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

// readSome reads several keys at once, some of them twice.
func (m *instance) readSome(ctx context.Context, rnd *rand.Rand, ks keys) {
	batch := make([]uint32, 2+rnd.IntN(6))
	for i := range batch {
		batch[i] = ks.next()
	}
	op, ro := history.Bounded, nearcache.ReadOptions{MaxStaleness: m.Bound}
	switch rnd.IntN(8) {
	case 0:
		op, ro = history.Fresh, nearcache.ReadOptions{Fresh: true}
	case 1, 2:
		op, ro = history.Plain, nearcache.ReadOptions{MaxStaleness: -1}
	}
	rec := m.asked(0, op, ro)
	rec.Invoke = m.hist.Now()
	results := m.cache.ReadMany(ctx, batch, ro)
	rec.Return = m.hist.Now()
	for i, r := range results {
		one := rec
		one.Key = batch[i]
		m.answered(&one, r, r.Err)
	}
}

// observe reads and records what came of it.
func (m *instance) observe(ctx context.Context, k uint32, op history.Op, ro nearcache.ReadOptions) {
	rec := m.asked(k, op, ro)
	rec.Invoke = m.hist.Now()
	r, err := m.cache.Read(ctx, k, ro)
	rec.Return = m.hist.Now()
	m.answered(&rec, r, err)
}

// asked is what a record says of a question.
func (m *instance) asked(k uint32, op history.Op, ro nearcache.ReadOptions) history.Record {
	rec := history.Record{Op: op, Key: k, Bound: max(0, ro.MaxStaleness), Param: uint64(ro.AtLeast)}
	if op == history.ServeStale {
		rec.Param = uint64(ro.ServeStale)
	}
	if op == history.Fresh && m.Default {
		rec.Bound = m.Bound
	}
	return rec
}

// answered adds the answer, and appends the record.
func (m *instance) answered(rec *history.Record, r nearcache.Result[item], err error) {
	rec.Version, rec.Tier, rec.Staleness, rec.Age = uint64(r.Version), history.Tier(r.Tier), r.Staleness, r.Age
	if r.Stale {
		rec.Flags |= history.Stale
	}
	switch {
	case err == nil:
		rec.Hash = hashOf(r.Value.Body)
	case errors.Is(err, nearcache.ErrNotFound):
		rec.Flags |= history.Absent
	case errors.Is(err, nearcache.ErrNotReady) && rec.Op == history.AtLeast:
		rec.Flags = history.Failed | history.NotReady
	case errors.Is(err, context.Canceled):
		return // the process is ending: nothing else cancels a read
	default:
		rec.Flags = history.Failed
		m.complain(err)
	}
	if rec.Flags&history.Failed == 0 {
		m.saw(rec.Key, rec.Version)
		if rec.Op == history.Bounded && r.Tier == nearcache.TierL1 {
			m.bounded.Store(rec.Invoke)
		}
	}
	m.reads.Add(1)
	m.hist.Append(rec)
}

// complain logs an error, if none was logged for a while: what fails, fails often.
func (m *instance) complain(err error) {
	now := m.hist.Now()
	if last := m.complained.Load(); now-last > int64(time.Second) && m.complained.CompareAndSwap(last, now) {
		m.log.Warn("a read fails", "error", err)
	}
}

// saw remembers the newest version of a key, for reads that ask for it.
func (m *instance) saw(k uint32, version uint64) {
	for {
		old := m.latest[k].Load()
		if version <= old || m.latest[k].CompareAndSwap(old, version) {
			return
		}
	}
}

// sweep reads every key.
func (m *instance) sweep(ctx context.Context) {
	all, cancel := context.WithTimeout(ctx, 4*readTimeout)
	defer cancel()
	for k := range uint32(m.Keys) {
		one, cancel := context.WithTimeout(all, readTimeout)
		m.observe(one, k, history.Sweep, nearcache.ReadOptions{MaxStaleness: -1})
		cancel()
	}
}
