package fence

import (
	"sync"
	"sync/atomic"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// bucket is what the fence knows of one bucket of L2.
type bucket struct {
	session atomic.Uint64        // the Redis session; changes only under mu
	asOf    atomic.Pointer[asOf] // what the watermark shows; changes only under mu
	_       [48]byte             // hits read the two above, loads write the rest: they must not share a cache line

	mu             sync.Mutex
	watermark      l2.Watermark // the furthest that was read in this session
	watermarkRead  bool         // one was read in this session
	watermarkKnown bool         // it is believed to be what Redis has
	lastHeartbeat  l2.Watermark // the last that a heartbeat read in this session, if heartbeatRead
	heartbeatRead  bool

	minVersions       minVersions
	requiredWatermark coherence.Position // L2 must have applied this much to be believed
	awaitingSample    uint64             // the first sample begun after it raises the required watermark; 0: none
	quarantined       bool
}

func (b *bucket) init(minVersions int) {
	b.session.Store(1)
	b.minVersions.init(minVersions)
}

// newSession ends the bucket's Redis session. Each session starts without a watermark: what the last one read says
// nothing about the server that answers now. The caller holds b.mu.
func (b *bucket) newSession() {
	if ablate.Out(ablate.RedisSession) {
		return
	}
	b.session.Store(nextSession(b.session.Load()))
	if ablate.Out(ablate.RedisSessionWatermark) {
		return
	}
	b.watermark, b.watermarkRead, b.watermarkKnown = l2.Watermark{}, false, false
	b.lastHeartbeat, b.heartbeatRead = l2.Watermark{}, false
}

// RedisSession says that the tracking connection was dialled or lost. Pushes may have been missed, so tracking vouches
// for nothing that was loaded before.
func (f *Fence) RedisSession() {
	for bucket := range f.buckets {
		f.BucketSession(bucket)
	}
}

// BucketSession is RedisSession of one bucket: another server answers for it.
func (f *Fence) BucketSession(bucket int) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.newSession()
}

// Heartbeat is a reading of the relay's round and of the watermarks under way.
type Heartbeat struct {
	sessions []uint64 // by bucket
	sample   Sample
}

// BeginHeartbeat must be called before the round or a watermark is read on the tracking connection.
func (f *Fence) BeginHeartbeat() (h Heartbeat) {
	h.sample = f.BeginSample()
	h.sessions = make([]uint64, len(f.buckets))
	for i := range f.buckets {
		h.sessions[i] = f.buckets[i].session.Load()
	}
	return h
}

// Watermark records what the heartbeat read of one bucket; a bucket without a watermark has the zero Watermark.
func (f *Fence) Watermark(h *Heartbeat, bucket int, w l2.Watermark) {
	f.observe(bucket, h.sessions[bucket], w, byHeartbeat)
}

// reader is who has read a watermark.
type reader uint8

const (
	byLoad reader = iota
	byHeartbeat
)

// observe takes a watermark that was asked for in a session. A reply that comes after the session has ended may be the
// old connection's, and is ignored.
//
// A watermark of another incarnation begins a session before it counts: what was loaded under the old incarnation was
// dropped in Redis without a push. So does a watermark that goes back from one heartbeat to the next: another server
// answers behind the same connection. Loads read watermarks too, and their replies are looked at in any order, so of
// two watermarks of one session and incarnation the further one counts.
func (f *Fence) observe(bucket int, session uint64, w l2.Watermark, by reader) {
	b := &f.buckets[bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session.Load() != session {
		return
	}
	otherIncarnation := b.watermarkRead && b.watermark.Incarnation != w.Incarnation
	wentBack := by == byHeartbeat && b.heartbeatRead && b.lastHeartbeat.Position.Covers(w.Position) &&
		b.lastHeartbeat != w
	switch {
	case otherIncarnation || wentBack:
		if !ablate.Out(ablate.IncarnationSession) {
			b.newSession()
		}
		b.watermark = w
	case !b.watermarkRead || w.Position.Covers(b.watermark.Position):
		b.watermark = w
	}
	b.watermarkRead, b.watermarkKnown = true, true
	if by == byHeartbeat {
		b.lastHeartbeat, b.heartbeatRead = w, true
	}
	f.advanceRedis(b)
}
