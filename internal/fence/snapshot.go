package fence

import (
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Snapshot is the state of the fence at the beginning of a load. The loaded value is judged by it.
type Snapshot struct {
	bucket       int
	hash         uint64 // of the key
	generations  *generations
	generation   uint64
	redisSession uint64
	eventSession uint64 // 0: the event channel vouched for nothing
	sampled      bool   // the source's timeline was known
	timeline     uint64 // of the source
	began        int64  // by the fence's clock
	// WatermarkKnown tells whether the bucket's watermark, and with it the bucket's incarnation, is known. If not, the
	// load must read the watermark before the record, on the same connection, and hand it to Learn.
	WatermarkKnown bool
	watermark      l2.Watermark
	quarantined    bool
}

// Begin starts a load of a key.
//
// The session is read before the watermark, and the generation before L2 or the source is asked. So whatever changes
// after this call is seen as a change.
func (f *Fence) Begin(k l2.Key) Snapshot {
	b := &f.buckets[k.Bucket]
	snap := Snapshot{
		bucket:      k.Bucket,
		hash:        k.Hash,
		generations: &f.generations,
		generation:  f.generations.of(k.Hash),
		began:       f.now(),
		sampled:     f.sampled.Load(),
		timeline:    f.timeline.Load(),
	}
	if f.complete {
		snap.eventSession = f.events.live.Load()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	snap.redisSession, snap.quarantined = b.session.Load(), b.quarantined
	snap.WatermarkKnown, snap.watermark = b.watermarkKnown, b.watermark
	return snap
}

// Began is when the load began, by the fence's clock.
func (s *Snapshot) Began() int64 { return s.began }

// Incarnation is the bucket's, as the load knows it: a record of another incarnation is a miss.
func (s *Snapshot) Incarnation() l2.Incarnation { return s.watermark.Incarnation }

// Learn gives the snapshot the watermark that its load has read on the tracking connection before the record, in the
// same pipeline. What the snapshot has already may be further: by a round the whole bucket is, though its watermark was
// left where it stood.
func (f *Fence) Learn(snap *Snapshot, w l2.Watermark) {
	if f.ownWatermark(snap, w) {
		return
	}
	f.observe(snap.bucket, snap.redisSession, w, byLoad)
	if snap.WatermarkKnown && snap.watermark.Incarnation == w.Incarnation &&
		snap.watermark.Position.Covers(w.Position) {
		return
	}
	snap.WatermarkKnown, snap.watermark = true, w
}

// Forget has the next load of the bucket read the watermark again: Redis answered with an incarnation that the snapshot
// does not know.
func (f *Fence) Forget(bucket int, snap *Snapshot) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.Load() == snap.redisSession && b.watermark == snap.watermark {
		b.watermarkKnown = false
	}
}

// SnapshotAsOf is the moment that a value from L2 would be no older than, if it were read now and judged by the
// snapshot; 0 if there is none.
func (f *Fence) SnapshotAsOf(snap *Snapshot) int64 { return f.samples.asOf(snap.watermark.Position) }

// StillValid reports whether a reader that arrives now may share the load: since the load began, nothing has
// invalidated its key and no session has ended.
func (f *Fence) StillValid(snap *Snapshot) bool {
	_, ok := snap.generations.catchUp(snap.generation, snap.hash)
	return ok && snap.redisSession == f.buckets[snap.bucket].session.Load() &&
		(!f.complete || snap.eventSession == f.events.live.Load()) ||
		ablate.Out(ablate.FlightStillStands)
}
