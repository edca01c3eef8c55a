package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// minVersion is the newest version of a key that this process has seen, and what shows that L2 has applied it.
type minVersion struct {
	version coherence.Version
	sample  uint64            // the last sample begun before the version was seen; every later sample covers its commit
	since   int64             // by the fence's clock
	below   coherence.Version // the newest version besides, seen before this one or since; see RefuseVersion
}

// minVersions is a bounded map from a key's hash to its min version. The key that came first is pushed out first. Two
// keys of one hash share the higher min version. That is safe: a min version only ever sends a read one tier down.
type minVersions struct {
	byHash map[uint64]minVersion
	ring   []uint64 // hashes, in order of arrival; next is the oldest
	next   int
	max    int
}

func (m *minVersions) init(n int) {
	*m = minVersions{byHash: make(map[uint64]minVersion), max: n}
}

// put sets a key's min version and returns the one that had to go, if any.
func (m *minVersions) put(hash uint64, v minVersion) (out minVersion, pushed bool) {
	if _, ok := m.byHash[hash]; !ok {
		if len(m.ring) < m.max {
			m.ring = append(m.ring, hash)
		} else {
			out, pushed = m.byHash[m.ring[m.next]]
			delete(m.byHash, m.ring[m.next])
			m.ring[m.next] = hash
			m.next = (m.next + 1) % m.max
		}
	}
	m.byHash[hash] = v
	return out, pushed
}

// MinVersion is the newest version of the key that this process knows to exist, 0 if it knows none.
func (f *Fence) MinVersion(k l2.Key) coherence.Version {
	b := &f.buckets[k.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	return f.minVersion(b, k.Hash)
}

// minVersion is the key's min version, 0 if there is none. The caller holds b.mu.
//
// Without a relay nothing ever shows that L2 has caught up with a min version, and a source that lost commits would
// never be believed again. So there min versions age. With a relay they do not, for a bucket also has no watermark from
// the beginning of a session to its first heartbeat:
//
//	reader: is served version 5                     the relay's way to Redis is blocked; L2 has 4
//	30 seconds later Redis restarts: a session, and no watermark
//	reader: L2 returns 4, and the min version 5 has aged
func (f *Fence) minVersion(b *bucket, hash uint64) coherence.Version {
	v, ok := b.minVersions.byHash[hash]
	if !ok || !f.complete && b.watermark.Position.IsZero() && f.now()-v.since > int64(f.minVersionAge) {
		return 0
	}
	return v.version
}

// raiseMinVersion remembers that version v exists. It reports whether the version is news: then the caller, who holds
// b.mu, bumps the key's generation.
//
// A min version that is pushed out raises the bucket's required watermark: from then on an L2 that may not have applied
// the forgotten version is not believed. A version was committed before it was seen here, so the first sample begun
// after that covers it. Usually that sample lies in the past already.
func (f *Fence) raiseMinVersion(b *bucket, hash uint64, v coherence.Version) (raised bool) {
	known := f.minVersion(b, hash)
	if v <= known {
		if old := b.minVersions.byHash[hash]; v < known && v > old.below {
			old.below = v
			b.minVersions.put(hash, old)
		}
		return false
	}
	next := minVersion{version: v, sample: f.samples.latest(), since: f.now(), below: known}
	if ablate.Out(ablate.RequiredWatermarkSample) {
		next.sample = 0
	}
	out, pushed := b.minVersions.put(hash, next)
	switch covering, ok := f.samples.firstAfter(out.sample); {
	case !pushed || ablate.Out(ablate.RequiredWatermark):
	case ok:
		b.raiseRequiredWatermark(covering)
	case ablate.Out(ablate.RequiredWatermarkSample): // whatever sample there is
		b.raiseRequiredWatermark(f.samples.newest())
	default:
		b.awaitingSample = max(b.awaitingSample, out.sample+1)
	}
	return true
}

func (b *bucket) raiseRequiredWatermark(to coherence.Position) {
	if !b.requiredWatermark.Covers(to) {
		b.requiredWatermark = to
	}
}

// reached reports whether an L2 that has applied everything up to a position has reached the bucket's required
// watermark. Without a source no relay moves watermarks, and C3 is best effort. The caller holds b.mu.
func (f *Fence) reached(b *bucket, applied coherence.Position) bool {
	if !f.complete {
		return true
	}
	if b.awaitingSample != 0 {
		covering, ok := f.samples.firstAfter(b.awaitingSample - 1)
		if !ok {
			return false
		}
		b.raiseRequiredWatermark(covering)
		b.awaitingSample = 0
	}
	return b.requiredWatermark.IsZero() || applied.Covers(b.requiredWatermark)
}

// Waits reports whether a bucket's L2 is not believed until a sample, or its watermark, has come further.
func (f *Fence) Waits() bool {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		waits := b.awaitingSample != 0 ||
			!f.untracked && !b.requiredWatermark.IsZero() && !b.watermark.Position.Covers(b.requiredWatermark)
		b.mu.Unlock()
		if waits {
			return true
		}
	}
	return false
}
