package fence

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Fence decides what L1 may serve and admit. It does no I/O, and has no goroutine and no clock of its own. It is safe
// for concurrent use. The package documentation has its rules.
type Fence struct {
	generations   generations
	buckets       []bucket
	events        eventChannel
	samples       samples
	rounds        rounds
	lastAsOf      atomic.Pointer[asOf] // what a bucket moved to last; see advance
	sampled       atomic.Bool          // a sample has ended: the source's timeline is known
	timeline      atomic.Uint64        // of the source, by the last sample; 0 before the first
	timelines     timelines
	now           func() int64
	minVersionAge time.Duration
	complete      bool
	pushesDoubted atomic.Bool // see DoubtPushes
	untracked     bool
}

// Config configures a Fence.
type Config struct {
	// Now is a monotonic clock in nanoseconds, never 0. Required.
	Now func() int64
	// Buckets is the number of buckets of L2, as in l2.Config. Defaults to l2.DefaultBuckets.
	Buckets int
	// MinVersions bounds the min versions that each bucket remembers. By default all buckets together remember 65,536.
	MinVersions int
	// Complete says that every change of the source has an event, as a relay publishes them. Only then can the event
	// channel vouch for entries. Events that come from elsewhere do no more than invalidate.
	Complete bool
	// Untracked says that Redis pushes nothing. Then the event channel alone vouches for entries, and each load reads
	// the watermark and the record in one step; see untracked.go.
	Untracked bool
	// MinVersionAge is how long a min version holds in a bucket that has no watermark, if not Complete. Defaults to 30
	// seconds.
	MinVersionAge time.Duration
}

// New returns a fence for which no channel vouches yet.
func New(cfg Config) *Fence {
	if cfg.Buckets == 0 {
		cfg.Buckets = l2.DefaultBuckets
	}
	return newFence(cfg, Slots, recentDepth, cfg.Buckets)
}

// newFence has the sizes as parameters: the explorer makes small fences.
func newFence(cfg Config, slots, depth, buckets int) *Fence {
	if cfg.MinVersions <= 0 {
		cfg.MinVersions = max(1<<16/buckets, 1)
	}
	if cfg.MinVersionAge <= 0 {
		cfg.MinVersionAge = 30 * time.Second
	}
	f := &Fence{
		buckets:       make([]bucket, buckets),
		now:           cfg.Now,
		minVersionAge: cfg.MinVersionAge,
		complete:      cfg.Complete,
		untracked:     cfg.Untracked,
	}
	f.generations.init(slots, depth)
	for i := range f.buckets {
		f.buckets[i].init(cfg.MinVersions)
	}
	return f
}

// Remember grows the recent bumps to at least n in total, at 8 bytes each; a fence begins with 524,288. An entry that
// goes unread for longer than that is dropped on its next read (Collided).
//
// The first version of a key that is served is a bump, and so is each one after its min version was forgotten. So an L1
// with more entries than the fence remembers bumps would evict itself by being read.
func (f *Fence) Remember(n int64) {
	slots := int64(len(f.generations.current))
	each := (n + slots - 1) / slots
	f.generations.deepen(1 << bits.Len64(uint64(min(max(each, 1), 1<<tagBits)-1)))
}

// Changed is a push of Redis tracking: the record whose Redis key has this hash was modified, expired or evicted.
func (f *Fence) Changed(hash uint64) { f.generations.bump(hash) }

// Written is a committed write of this process. From now on nothing older is served here.
func (f *Fence) Written(k l2.Key, v coherence.Version) { f.invalidate(k, v) }

// Event applies a version event. An event without a version invalidates whatever is there. So does an event from
// another timeline of the source than that of the last sample: its version orders nothing here, and as a min version it
// would stand for good. The position says no more than that: who forges one could have L2 believed too early, or never.
//
//	version 9: is committed; its event is held up in Kafka      the source fails over and loses it
//	sample: another timeline, all min versions go               the event comes
//	reader: the Loader returns 8, which is below the min version for ever
func (f *Fence) Event(k l2.Key, v coherence.Version, at coherence.Position) {
	if now := f.timeline.Load(); now != 0 && !at.IsZero() && at.Timeline != now {
		v = 0
	}
	f.invalidate(k, v)
}

// invalidate bumps the key's generation, unless the version was known here already. In that case the bump was made when
// the version became known, and everything admitted since is at least that new. So an event that comes after the push
// of its own write, or twice, evicts nothing. The bump is made under the lock: who finds the version known may rely on
// it.
func (f *Fence) invalidate(k l2.Key, v coherence.Version) {
	b := &f.buckets[k.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if v == 0 || f.raiseMinVersion(b, k.Hash, v) {
		f.generations.bump(k.Hash)
	}
}
