package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// A min version that no source has given is a fault: of a program that puts a clock where the version belongs, or of a
// forger. Every load is below it, so the key can be neither cached nor served within a bound. The two methods of this
// file take such a min version back.

// RefuseVersion takes a key's min version back to `actual`, the version that the source gave for the key when it was
// asked after `refused` became the min version; at is a position that the source gave after that. It does nothing if
// the min version is another one by now, or is not newer than actual, or if the answer is not known to be of the
// present timeline. It reports whether it took the min version back.
//
// It is safe because an event follows its commit, and a source's counter does not go back within a timeline: had
// `refused` been committed before its event was delivered, the source would have answered at least that. Whatever this
// process knew before the question is at most actual, for the same reason.
//
// Versions that came after the question, and were no news below the refused one, are remembered as `below`. They count
// now, and loads that began before are not admitted:
//
//	asker: the source has version 4      version 5 is committed; its event is below the refused version: no bump
//	asker: takes the min version back to 4
//	reader: its load of version 4 ends; L2 may have 4 for a while yet
//
// If `below` was forged too, it is the min version now, and the next load asks again.
func (f *Fence) RefuseVersion(k l2.Key, refused, actual coherence.Version, at coherence.Position) bool {
	if at.Timeline != f.timeline.Load() {
		return false
	}
	b := &f.buckets[k.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.minVersions.byHash[k.Hash]
	if !ok || v.version != refused || actual >= refused {
		return false
	}
	f.lowerMinVersion(b, k.Hash, max(actual, v.below), actual)
	return true
}

// ForgetOldVersion takes a key's min version back if it has stood for longer than MinVersionAge, for a source that
// cannot be asked. The caller's load has returned less. It reports whether it did so.
//
// The bucket requires a watermark instead, as if the min version had been pushed out: an L2 that may not have applied
// the version is not believed.
func (f *Fence) ForgetOldVersion(k l2.Key, refused coherence.Version) bool {
	b := &f.buckets[k.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.minVersions.byHash[k.Hash]
	if !ok || v.version != refused || f.now()-v.since <= int64(f.minVersionAge) {
		return false
	}
	if covering, ok := f.samples.firstAfter(v.sample); ok {
		b.raiseRequiredWatermark(covering)
	} else {
		b.awaitingSample = max(b.awaitingSample, v.sample+1)
	}
	f.lowerMinVersion(b, k.Hash, v.below, 0)
	return true
}

// lowerMinVersion sets a key's min version to an older one. The caller holds b.mu.
func (f *Fence) lowerMinVersion(b *bucket, hash uint64, to, below coherence.Version) {
	b.minVersions.put(hash, minVersion{version: to, sample: f.samples.latest(), since: f.now(), below: min(below, to)})
	f.generations.bump(hash)
}
