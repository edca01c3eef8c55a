package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// floor is the newest version of a key that this instance has seen, and what L2 must have applied to be past it.
type floor struct {
	version coherence.Version
	at      coherence.Position // covers the version's commit; zero if it is not known
	probe   uint64             // if so: the last probe begun before the version was seen, so that any later one covers it
	since   int64              // by the fence's clock
}

// floors is a bounded map from a key's hash to its floor; the key that came first is pushed out first. Two keys of the
// same hash share the higher floor, which is safe: a floor only ever sends a read one tier down.
type floors struct {
	byHash map[uint64]floor
	ring   []uint64 // hashes, in order of arrival; next is the oldest
	next   int
	max    int
}

func (fs *floors) init(n int) {
	*fs = floors{byHash: make(map[uint64]floor), max: n}
}

// put sets a key's floor and returns the one that had to go, if any.
func (fs *floors) put(hash uint64, fl floor) (out floor, pushed bool) {
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

// floor is the key's floor, 0 if there is none. Without a relay nothing ever shows that L2 is past a floor, and a source
// that lost commits would never be believed again, so there floors age out. With one they do not, for a bucket also has
// no watermark from the beginning of a session to its first heartbeat:
//
//	reader: is served version 5                     the relay's way to Redis is blocked; L2 has 4
//	30 seconds later Redis restarts: a session, and no watermark
//	reader: L2 returns 4, and the floor of 5 has aged
//
// The caller holds b.mu.
func (f *Fence) floor(b *bucket, hash uint64) coherence.Version {
	fl, ok := b.floors.byHash[hash]
	if !ok || !f.complete && b.watermark.Position.IsZero() && f.now()-fl.since > int64(f.age) {
		return 0
	}
	return fl.version
}

// raiseFloor remembers that version v exists; at covers its commit, if known. It reports whether that was news: then the
// caller, who holds b.mu, bumps the slot.
//
// A floor that is pushed out raises the bucket's horizon: from then on an L2 that may not have applied the forgotten
// version is not believed. A version whose commit position is not known was committed before it was seen here, so the
// first probe begun after that covers it. Usually that probe lies in the past already.
func (f *Fence) raiseFloor(b *bucket, hash uint64, v coherence.Version, at coherence.Position) (raised bool) {
	if v <= f.floor(b, hash) {
		return false
	}
	fl := floor{version: v, at: at, probe: f.probes.begun(), since: f.now()}
	if ablate.Out(ablate.HorizonProbe) {
		fl.probe = 0
	}
	out, pushed := b.floors.put(hash, fl)
	switch p, probed := f.probes.after(out.probe); {
	case !pushed || ablate.Out(ablate.Horizon):
	case !out.at.IsZero():
		b.raiseHorizon(out.at)
	case probed:
		b.raiseHorizon(p)
	case ablate.Out(ablate.HorizonProbe): // whatever probe there is
		b.raiseHorizon(f.probes.newest())
	default:
		b.awaiting = max(b.awaiting, out.probe+1)
	}
	return true
}

func (b *bucket) raiseHorizon(to coherence.Position) {
	if !b.horizon.Covers(to) {
		b.horizon = to
	}
}

// reaches reports whether an L2 with this watermark has applied everything that the bucket's horizon asks for. Without a
// source there is no relay that would move watermarks, and C3 is best effort. The caller holds b.mu.
func (f *Fence) reaches(b *bucket, w coherence.Position) bool {
	if !f.complete {
		return true
	}
	if b.awaiting != 0 {
		p, ok := f.probes.after(b.awaiting - 1)
		if !ok {
			return false
		}
		b.raiseHorizon(p)
		b.awaiting = 0
	}
	return b.horizon.IsZero() || w.Covers(b.horizon)
}
