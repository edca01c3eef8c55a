package fence

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Fence decides what L1 may serve and admit. Events go in (pushes, version events, sessions, watermarks, samples), loads
// take a Snapshot before they ask anybody and are told at their end what may be done with their value. It does no I/O, has
// no goroutine and no clock of its own, and is safe for concurrent use. See the package documentation for the rules.
type Fence struct {
	generations   generations
	buckets       []bucket
	events        eventChannel
	samples       samples
	timeline      atomic.Uint64 // the source's timeline as the last sample found it, 0 before the first
	now           func() int64
	minVersionAge time.Duration // of min versions, where no relay is known to move watermarks
	complete      bool          // FenceConfig.Complete
	timelines     timelines
}

// FenceConfig configures a Fence.
type Config struct {
	// Now is a monotonic clock in nanoseconds, never 0. Required.
	Now func() int64
	// MinVersions bounds the min versions that each of the 64 buckets remembers. Defaults to 1024.
	MinVersions int
	// Complete says that every change of the source has an event, as a relay publishes them. Only then can the event
	// channel vouch for entries; events that come from elsewhere do no more than invalidate.
	Complete bool
	// MinVersionAge is how long a min version holds in a bucket that has no watermark, if not Complete. Defaults to 30 seconds.
	MinVersionAge time.Duration
}

// NewFence returns a fence with no channel alive.
func New(cfg Config) *Fence {
	return newFence(cfg, Slots, recentDepth, l2.Buckets)
}

// newFence lets the explorer make small ones.
func newFence(cfg Config, slots, depth, buckets int) *Fence {
	if cfg.MinVersions <= 0 {
		cfg.MinVersions = 1024
	}
	if cfg.MinVersionAge <= 0 {
		cfg.MinVersionAge = 30 * time.Second
	}
	f := &Fence{buckets: make([]bucket, buckets), now: cfg.Now, minVersionAge: cfg.MinVersionAge, complete: cfg.Complete}
	f.generations.init(slots, depth)
	for i := range f.buckets {
		f.buckets[i].init(cfg.MinVersions)
	}
	return f
}

// Remember makes the journals of all slots together remember so many bumps at least, at 8 bytes each; 524,288 to begin with. An
// entry that is not read while more than that are made, of whatever keys, is dropped when it is (Collided). The first version of a
// key that is served, and each one after its min version was forgotten, is a bump: an L1 whose entries are more than its journals
// remember would evict itself by being read.
func (f *Fence) Remember(bumps int64) {
	each := (bumps + int64(len(f.generations.current)) - 1) / int64(len(f.generations.current))
	f.generations.deepen(1 << bits.Len64(uint64(min(max(each, 1), 1<<tagBits)-1)))
}

// bucket is what the fence knows of one bucket of L2.
type bucket struct {
	session atomic.Uint64        // the Redis session; changes only under mu
	asOf    atomic.Pointer[asOf] // what the watermark proves; changes only under mu
	_       [48]byte             // hits read the two above; loads write what is below

	mu                sync.Mutex
	watermarkKnown    bool         // the watermark is believed to be what Redis has
	watermarkRead     bool         // the watermark has been read in this session
	watermark         l2.Watermark // the furthest read on the tracking connection in this session
	lastHeartbeat     l2.Watermark // the last that a heartbeat has read in this session, if beaten
	heartbeatRead     bool
	minVersions       minVersions
	requiredWatermark coherence.Position // L2 must have applied this much
	quarantined       bool               // L2 lacks changes; see Quarantine
	awaitingSample    uint64             // the required watermark rises to the first sample begun after this one; 0: nothing awaited
}

func (b *bucket) init(n int) {
	b.session.Store(1)
	b.minVersions.init(n)
}

// Snapshot is what a load takes before it asks L2 or the Loader: the state of the fence that its value will be judged by.
type Snapshot struct {
	key          l2.Key
	generations  *generations
	generation   uint64
	redisSession uint64
	eventSession uint64
	began        int64 // by the fence's clock
	// timeline is the source's timeline before anybody was asked
	timeline uint64
	// Known tells whether the bucket's watermark, and so its incarnation, is known. If not, the load must read the watermark
	// before the record, on the same connection, and hand it to Learn.
	WatermarkKnown bool
	watermark      l2.Watermark
	quarantined    bool
}

// Begin starts a load of a key.
//
// The session is read before the watermark and the generation before anything is asked, so whatever changes after this
// call is seen as a change.
func (f *Fence) Begin(k l2.Key) Snapshot {
	b := &f.buckets[k.Bucket]
	t := Snapshot{key: k, generations: &f.generations, generation: f.generations.of(k.Hash), began: f.now(), timeline: f.timeline.Load()}
	if f.complete {
		t.eventSession = f.events.live.Load()
	}
	b.mu.Lock()
	t.redisSession, t.WatermarkKnown, t.watermark, t.quarantined = b.session.Load(), b.watermarkKnown, b.watermark, b.quarantined
	b.mu.Unlock()
	return t
}

// Began is when the load began, by the fence's clock.
func (t *Snapshot) Began() int64 { return t.began }

// Incarnation is the incarnation of the bucket as the load knows it: a record of another one is a miss.
func (t *Snapshot) Incarnation() l2.Incarnation { return t.watermark.Incarnation }

// Learn gives the snapshot the watermark that its load read on the tracking connection before the record, in the same pipeline.
func (f *Fence) Learn(t *Snapshot, w l2.Watermark) {
	f.observe(t.key.Bucket, t.redisSession, w, false)
	t.WatermarkKnown, t.watermark = true, w
}

// Proven is what the watermark that the snapshot knows proves of a value that is read from L2 now and judged by it, as a moment by
// the fence's clock; 0: nothing.
func (f *Fence) SnapshotAsOf(t *Snapshot) int64 { return f.samples.asOf(t.watermark.Position) }

// Still reports whether a reader that arrives now may share the load: nothing has invalidated its key, and no session
// has ended, since the load began.
func (f *Fence) StillValid(t *Snapshot) bool {
	_, ok := t.generations.catchUp(t.generation, t.key.Hash)
	return ok && t.redisSession == f.buckets[t.key.Bucket].session.Load() && (!f.complete || t.eventSession == f.events.live.Load()) ||
		ablate.Out(ablate.FlightStillStands)
}

// Changed is a tracking push: the record whose Redis key has this hash was modified, expired or evicted.
func (f *Fence) Changed(hash uint64) { f.generations.bump(hash) }

// Written is a write of this instance's own that has committed: from now on it serves nothing older.
func (f *Fence) Written(k l2.Key, v coherence.Version) { f.raise(k, v, coherence.Position{}) }

// Event applies a version event. An unversioned one invalidates whatever is there, and so does one from another timeline of
// the source than the last sample's: its version orders nothing here, and as a min version it would stand for good.
//
//	version 9: is committed; its event is held up in Kafka      the source fails over and loses it
//	sample: another timeline, all min versions go                         the event comes
//	reader: the Loader returns 8, which for ever is below the min version
func (f *Fence) Event(k l2.Key, v coherence.Version, at coherence.Position) {
	if h := f.timeline.Load(); h != 0 && !at.IsZero() && at.Timeline != h {
		v = 0
	}
	f.raise(k, v, at)
}

// raise bumps the slot unless the version was known here already: then the slot was bumped when it became known, and
// whatever has been admitted since is at least that new. So an event that arrives after its own write's push, or twice,
// evicts nothing. The bump is under the lock too: whoever finds the version known may rely on it.
func (f *Fence) raise(k l2.Key, v coherence.Version, at coherence.Position) {
	b := &f.buckets[k.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if v == 0 || f.raiseMinVersion(b, k.Hash, v, at) {
		f.generations.bump(k.Hash)
	}
}

// Outcome is what may be done with a loaded value.
type Outcome uint8

// The outcomes. The reasons in metrics are their names.
const (
	Serve           Outcome = iota // serve it; admit it if the stamp was given
	BelowMinVersion                // a newer version is known here: not to be served, the next tier down must be asked
	Behind                         // L2 may be behind what this instance has seen: the next tier down must be asked
)

// String is the outcome's name in metrics.
func (o Outcome) String() string {
	switch o {
	case Serve:
		return "serve"
	case BelowMinVersion:
		return "below_min_version"
	case Behind:
		return "behind"
	}
	return "unknown"
}

// MinVersion is the newest version of the key that this instance knows to exist, 0 if it knows none.
func (f *Fence) MinVersion(k l2.Key) coherence.Version {
	b := &f.buckets[k.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	return f.minVersion(b, k.Hash)
}

// FromL2 judges a value of version v that a GET on the tracking connection returned. If it may be served, stamp.Sample() is set; if it may be
// admitted too, the whole stamp is, and admit is true.
//
// What the snapshot knows of L2's watermark counts only while the Redis session is the one it was read in: the GET may
// have been answered by another server, that went back in time:
//
//	heartbeat: reads watermark 7          load: takes its snapshot, and with it the 7
//	Redis fails over to a replica at 5    load: its GET dials the replica, and returns a value as of 5
func (f *Fence) FromL2(t *Snapshot, v coherence.Version, stamp *Stamp) (o Outcome, admit bool) {
	b := &f.buckets[t.key.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.quarantined || b.quarantined {
		return Behind, false
	}
	seen := f.minVersion(b, t.key.Hash)
	if v < seen && !ablate.Out(ablate.MinVersion) {
		return BelowMinVersion, false
	}
	stands := t.redisSession == b.session.Load()
	if !stands && !ablate.Out(ablate.WatermarkFirst) {
		t.watermark = l2.Watermark{}
	}
	if !f.reaches(b, t.watermark.Position) {
		return Behind, false
	}
	stamp.loaded(t.began, f.samples.asOf(t.watermark.Position), f.timelines.number(t.watermark.Position.Timeline))
	f.serve(b, t, v, seen)
	gen, ok := t.generations.catchUp(t.generation, t.key.Hash)
	if !ok && !ablate.Out(ablate.Generation) {
		return Serve, false
	}
	f.stamp(stamp, t, gen)
	if stands {
		stamp.redisSession = session32(t.redisSession)
	}
	if f.events.vouchesForL2(t, f) {
		stamp.eventSession = session32(t.eventSession)
	}
	return Serve, stamp.Vouched() || stamp.asOf != never
}

// FromSource judges a value of version v that the Loader returned. BelowMinVersion means that the Loader went back in time (a
// replica, or a source that lost commits). admit is about L1; L2's lease decides about L2. A value that no channel
// vouches for is still proved by its own load, which began after its snapshot: that serves reads with a bound.
func (f *Fence) FromSource(t *Snapshot, v coherence.Version, stamp *Stamp) (o Outcome, admit bool) {
	b := &f.buckets[t.key.Bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	began := t.began
	if ablate.Out(ablate.ClockBeforeLoad) {
		began = f.now()
	}
	stamp.loaded(began, began, f.timelines.number(t.timeline))
	seen := f.minVersion(b, t.key.Hash)
	if v < seen && !ablate.Out(ablate.MinVersion) {
		return BelowMinVersion, false
	}
	f.serve(b, t, v, seen)
	gen, ok := t.generations.catchUp(t.generation, t.key.Hash)
	if !ok && !ablate.Out(ablate.Generation) {
		return Serve, false
	}
	f.stamp(stamp, t, gen)
	if ablate.Out(ablate.AdmitFromTracking) && t.redisSession == b.session.Load() {
		stamp.redisSession = session32(t.redisSession)
	}
	if t.eventSession != 0 && t.eventSession == f.events.live.Load() {
		stamp.eventSession = session32(t.eventSession)
	}
	return Serve, f.complete || stamp.Vouched()
}

func (f *Fence) stamp(s *Stamp, t *Snapshot, gen uint64) {
	s.hash, s.bucket = t.key.Hash, uint8(t.key.Bucket)
	s.redisSession, s.eventSession = 0, 0
	s.generation.Store(gen)
}

// serve raises the min version to a version about to be served. That evicts an older entry, which would otherwise be served
// again after this one (C3), and the running loads that may still bring it back; the load that raised the min version goes on
// with the new generation if its own was still current. seen is the min version.
func (f *Fence) serve(b *bucket, t *Snapshot, v, seen coherence.Version) {
	if v == 0 || v <= seen {
		return
	}
	f.raiseMinVersion(b, t.key.Hash, v, coherence.Position{})
	if ablate.Out(ablate.ServeBumps) {
		return
	}
	before, current := t.generations.catchUp(t.generation, t.key.Hash)
	after := t.generations.bump(t.key.Hash)
	if current && t.generations.onlyOthersBumped(before, after-1, t.key.Hash) {
		t.generation = after
	}
}
