package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// min version is the newest version of a key that this instance has seen, and what L2 must have applied to be past it.
type minVersion struct {
	version coherence.Version
	at      coherence.Position // covers the version's commit; zero if it is not known
	sample  uint64             // if so: the last sample begun before the version was seen, so that any later one covers it
	since   int64              // by the fence's clock
}

// min versions is a bounded map from a key's hash to its min version; the key that came first is pushed out first. Two keys of the
// same hash share the higher min version, which is safe: a min version only ever sends a read one tier down.
type minVersions struct {
	byHash map[uint64]minVersion
	ring   []uint64 // hashes, in order of arrival; next is the oldest
	next   int
	max    int
}

func (fs *minVersions) init(n int) {
	*fs = minVersions{byHash: make(map[uint64]minVersion), max: n}
}

// put sets a key's min version and returns the one that had to go, if any.
func (fs *minVersions) put(hash uint64, fl minVersion) (out minVersion, pushed bool) {
	if _, ok := fs.byHash[hash]; !ok {
		if len(fs.ring) < fs.max {
			fs.ring = append(fs.ring, hash)
		} else {
			out, pushed = fs.byHash[fs.ring[fs.next]]
			delete(fs.byHash, fs.ring[fs.next])
			fs.ring[fs.next] = hash
			fs.next = (fs.next + 1) % fs.max
		}
	}
	fs.byHash[hash] = fl
	return out, pushed
}

// min version is the key's min version, 0 if there is none. Without a relay nothing ever shows that L2 is past a min version, and a source
// that lost commits would never be believed again, so there min versions age out. With one they do not, for a bucket also has
// no watermark from the beginning of a session to its first heartbeat:
//
//	reader: is served version 5                     the relay's way to Redis is blocked; L2 has 4
//	30 seconds later Redis restarts: a session, and no watermark
//	reader: L2 returns 4, and the min version of 5 has aged
//
// The caller holds b.mu.
func (f *Fence) minVersion(b *bucket, hash uint64) coherence.Version {
	fl, ok := b.minVersions.byHash[hash]
	if !ok || !f.complete && b.watermark.Position.IsZero() && f.now()-fl.since > int64(f.minVersionAge) {
		return 0
	}
	return fl.version
}

// raiseMinVersion remembers that version v exists; at covers its commit, if known. It reports whether that was news: then the
// caller, who holds b.mu, bumps the slot.
//
// A min version that is pushed out raises the bucket's required watermark: from then on an L2 that may not have applied the forgotten
// version is not believed. A version whose commit position is not known was committed before it was seen here, so the
// first sample begun after that covers it. Usually that sample lies in the past already.
func (f *Fence) raiseMinVersion(b *bucket, hash uint64, v coherence.Version, at coherence.Position) (raised bool) {
	if v <= f.minVersion(b, hash) {
		return false
	}
	fl := minVersion{version: v, at: at, sample: f.samples.latest(), since: f.now()}
	if ablate.Out(ablate.RequiredWatermarkSample) {
		fl.sample = 0
	}
	out, pushed := b.minVersions.put(hash, fl)
	switch p, sampled := f.samples.firstAfter(out.sample); {
	case !pushed || ablate.Out(ablate.RequiredWatermark):
	case !out.at.IsZero():
		b.raiseRequiredWatermark(out.at)
	case sampled:
		b.raiseRequiredWatermark(p)
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

// reaches reports whether an L2 with this watermark has applied everything that the bucket's required watermark asks for. Without a
// source there is no relay that would move watermarks, and C3 is best effort. The caller holds b.mu.
func (f *Fence) reaches(b *bucket, w coherence.Position) bool {
	if !f.complete {
		return true
	}
	if b.awaitingSample != 0 {
		p, ok := f.samples.firstAfter(b.awaitingSample - 1)
		if !ok {
			return false
		}
		b.raiseRequiredWatermark(p)
		b.awaitingSample = 0
	}
	return b.requiredWatermark.IsZero() || w.Covers(b.requiredWatermark)
}
