package fence

import (
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Outcome is what may be done with a loaded value.
type Outcome uint8

// The outcomes. The reasons in metrics are their names.
const (
	Serve           Outcome = iota // serve it
	BelowMinVersion                // a newer version is known here: ask the next tier down
	Behind                         // L2 may be behind what this process has seen: ask the next tier down
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

// FromL2 judges a value of version v that a GET on the tracking connection returned. If it may be served,
// stamp.LoadedAsOf is set. If it may be admitted to L1 too, admit is true and the stamp is complete.
//
// The watermark in the snapshot counts only while the Redis session is the one it was read in. Otherwise another server
// may have answered the GET, one that went back in time:
//
//	heartbeat: reads watermark 7          load: takes its snapshot, and with it the 7
//	Redis fails over to a replica at 5    load: its GET dials the replica, and returns a value as of 5
//
// Without a relay there are no watermarks to compare, and the snapshot has the incarnation of the old server's history.
// The replica may have records of it. So then nothing is believed that was read after the session had ended.
func (f *Fence) FromL2(snap *Snapshot, v coherence.Version, stamp *Stamp) (o Outcome, admit bool) {
	b := &f.buckets[snap.bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	sameSession := snap.redisSession == b.session.Load()
	known := f.minVersion(b, snap.hash)
	switch {
	case snap.quarantined || b.quarantined:
		return Behind, false
	case v < known && !ablate.Out(ablate.MinVersion):
		return BelowMinVersion, false
	case !sameSession && !f.complete && !ablate.Out(ablate.HistoryInSession):
		return Behind, false
	}
	if !sameSession && !ablate.Out(ablate.WatermarkFirst) {
		snap.watermark = l2.Watermark{}
	}
	applied := snap.watermark.Position // everything up to here was applied to L2 before the value was read
	if !f.reached(b, applied) {
		return Behind, false
	}
	stamp.loaded(snap.began, f.samples.asOf(applied), f.timelines.number(applied.Timeline))
	f.serve(b, snap, v, known)
	if !f.stamp(stamp, snap) {
		return Serve, false
	}
	if sameSession && f.tracks() {
		stamp.redisSession = session32(snap.redisSession)
	}
	if f.events.vouchesForL2(snap, f) {
		stamp.eventSession = session32(snap.eventSession)
	}
	return Serve, stamp.Vouched() || stamp.asOf != never
}

// FromSource judges a value of version v that the Loader returned. BelowMinVersion means that the Loader went back in
// time: it asked a replica, or the source lost commits. admit is about L1; the lease decides about L2. A value for
// which no channel vouches still has the moment at which its own load began, which serves reads with a bound.
//
// The events vouch for no load that began before the first sample. Nothing ends a session for a promotion that came
// before it:
//
//	load: the old primary answers version 1          a standby without version 1 is promoted
//	sample: the first one, of the new timeline       barrier: of the new timeline, covers the sample, and so version 1
func (f *Fence) FromSource(snap *Snapshot, v coherence.Version, stamp *Stamp) (o Outcome, admit bool) {
	b := &f.buckets[snap.bucket]
	b.mu.Lock()
	defer b.mu.Unlock()
	began := snap.began
	if ablate.Out(ablate.ClockBeforeLoad) {
		began = f.now()
	}
	stamp.loaded(began, began, f.timelines.number(snap.timeline))
	known := f.minVersion(b, snap.hash)
	if v < known && !ablate.Out(ablate.MinVersion) {
		return BelowMinVersion, false
	}
	f.serve(b, snap, v, known)
	if !f.stamp(stamp, snap) {
		return Serve, false
	}
	if ablate.Out(ablate.AdmitFromTracking) && snap.redisSession == b.session.Load() {
		stamp.redisSession = session32(snap.redisSession)
	}
	timelined := snap.sampled || ablate.Out(ablate.TimelineKnown)
	if timelined && snap.eventSession != 0 && snap.eventSession == f.events.live.Load() {
		stamp.eventSession = session32(snap.eventSession)
	}
	return Serve, f.complete || stamp.Vouched()
}

// serve raises the min version to a version that is about to be served. That evicts an older entry, which would
// otherwise be served again after this one (C3), and voids the loads under way that may still bring it back. The load
// that raised the min version goes on with the new generation, if its own was still current. known is the min version.
// The caller holds b.mu.
func (f *Fence) serve(b *bucket, snap *Snapshot, v, known coherence.Version) {
	if v == 0 || v <= known {
		return
	}
	f.raiseMinVersion(b, snap.hash, v)
	if ablate.Out(ablate.ServeBumps) {
		return
	}
	before, current := snap.generations.catchUp(snap.generation, snap.hash)
	after := snap.generations.bump(snap.hash)
	if current && snap.generations.onlyOthersBumped(before, after-1, snap.hash) {
		snap.generation = after
	}
}

// stamp gives the stamp the present generation, and no session. It reports whether nothing has invalidated the key
// since the load began: if something has, the value must not be admitted.
func (f *Fence) stamp(stamp *Stamp, snap *Snapshot) bool {
	generation, ok := snap.generations.catchUp(snap.generation, snap.hash)
	if !ok && !ablate.Out(ablate.Generation) {
		return false
	}
	stamp.setHash(snap.hash)
	stamp.bucket = uint16(snap.bucket)
	stamp.redisSession, stamp.eventSession = 0, 0
	stamp.generation.Store(generation)
	return true
}
