package explore

import "github.com/nearcache/nearcache-go/internal/ablate"

// L2 is one key of one bucket in Redis: a twin of the scripts in internal/l2 as a value. Numbers are small: a version
// or a position n is kept as n+1, and 0 is none; incarnations are counted from 1, and 0 is the incarnation of a bucket
// without a watermark.
//
// A holder keeps for itself that the lease is its own, and forgets that when Lease is 0 again; so holders are
// interchangeable. A method reports whether it has modified the record's key: then Redis pushes the key to every
// connection that tracks it.
type L2 struct {
	Record               uint8 // version+1
	RecordIncarnation    uint8
	Lease                uint8 // 1: a reader's lease stands
	Intents              uint8 // a bit for each writer whose intent stands; never with Lease
	Watermark            uint8 // position+1
	Part                 uint8 // how much of the transaction after it is applied too, in batches
	WatermarkIncarnation uint8 // the watermark's incarnation
}

// Incarnation is the bucket's.
func (l *L2) Incarnation() uint8 {
	if l.Watermark == 0 {
		return 0
	}
	return l.WatermarkIncarnation
}

// Live reports whether there is a record that readers who know the bucket's incarnation believe.
func (l *L2) Live() bool { return l.Record > 0 && l.RecordIncarnation == l.Incarnation() }

// Answer is what acquire answers.
type Answer uint8

// The answers.
const (
	Granted Answer = iota
	Present
	Busy
	Writing
)

// Acquire is acquire.lua. A record is unusable to a caller who cannot decode it, or whose schema is newer.
func (l *L2) Acquire(unusable bool) Answer {
	switch {
	case l.Live() && !unusable:
		return Present
	case l.Intents > 0:
		return Writing
	case l.Lease > 0:
		return Busy
	}
	l.Lease = 1
	return Granted
}

// Fill is fill.lua: mine tells whether the lease that stands is the caller's, incarnation is that of its acquire.
func (l *L2) Fill(mine bool, incarnation, version uint8) (changed bool) {
	if !(mine && l.Lease > 0) && !ablate.Out(ablate.FillNeedsLease) {
		return false
	}
	l.Lease, l.Intents = 0, 0 // the intents can be there only without the rule
	if incarnation != l.Incarnation() {
		if !ablate.Out(ablate.FillSameIncarnation) {
			return false
		}
		incarnation = l.Incarnation()
	}
	l.Record, l.RecordIncarnation = version+1, incarnation
	return true
}

// Apply is apply.lua; any is version 0, which is newer than everything.
func (l *L2) Apply(version uint8, anyVersion bool) (changed bool) {
	if l.Record > 0 && (anyVersion || !l.Live() || l.Record-1 < version) {
		l.Record, l.RecordIncarnation = 0, 0
		changed = true
	}
	if !ablate.Out(ablate.ApplyDropsLease) {
		l.Lease = 0
	}
	return changed
}

// Set is set.lua.
func (l *L2) Set(version uint8, anyVersion bool) (changed bool) {
	over := l.Record > 0 && !anyVersion && l.Record-1 < version && (l.Live() || ablate.Out(ablate.SetSameIncarnation))
	if !over && !(l.Record == 0 && ablate.Out(ablate.SetOverValue)) {
		return l.Apply(version, anyVersion)
	}
	l.Record, l.RecordIncarnation = version+1, l.Incarnation()
	if !ablate.Out(ablate.SetDropsLease) {
		l.Lease = 0
	}
	return true
}

// Mark is a watermark in an incarnation, as a relay holds it.
type Mark struct{ Incarnation, Position, Part uint8 }

// Batch is batch.lua with at most one change of this key. to is of the same incarnation as from.
func (l *L2) Batch(from, to Mark, versions ...uint8) (changed, applied bool) {
	if l.Watermark == 0 || !l.has(from) {
		return false, false
	}
	for _, v := range versions {
		changed = l.Apply(v, false) || changed
	}
	if l.before(to) {
		l.Watermark, l.Part = to.Position+1, to.Part
	}
	return changed, true
}

// has reports whether what came before a batch has been applied.
func (l *L2) has(from Mark) bool {
	if ablate.Out(ablate.BatchPart) {
		from.Part = 0
	}
	return l.WatermarkIncarnation == from.Incarnation && !l.before(from) || ablate.Out(ablate.BatchFrom)
}

func (l *L2) before(m Mark) bool {
	return l.Watermark < m.Position+1 || l.Watermark == m.Position+1 && l.Part < m.Part
}

// Reset is reset.lua: seen is a watermark (position+1, or 0 for none) with its part and incarnation.
func (l *L2) Reset(seen, seenPart, seenIncarnation, to, incarnation uint8) {
	if l.Watermark == seen && (seen == 0 || l.Part == seenPart && l.WatermarkIncarnation == seenIncarnation) {
		l.Watermark, l.Part, l.WatermarkIncarnation = to+1, 0, incarnation
	}
}

// PlaceIntent is place_intent.lua of writer number w.
func (l *L2) PlaceIntent(w uint8) (changed bool) {
	l.Lease, l.Intents = 0, l.Intents|1<<w
	changed = l.Record > 0
	l.Record, l.RecordIncarnation = 0, 0
	return changed
}

// ResolveIntent is resolve_intent.lua.
func (l *L2) ResolveIntent(w, version uint8, anyVersion bool) (changed bool) {
	changed = l.Apply(version, anyVersion)
	l.Intents &^= 1 << w
	return changed
}

// Release is release.lua. It modifies no record.
func (l *L2) Release(mine bool) {
	if mine {
		l.Lease = 0
	}
}

// EvictRecord, EvictLease (or its expiry) and EvictWatermark are what Redis may do at any moment.
func (l *L2) EvictRecord() (changed bool) {
	changed = l.Record > 0
	l.Record, l.RecordIncarnation = 0, 0
	return changed
}

// EvictLease is also the end of the lease, or of the intents.
func (l *L2) EvictLease() { l.Lease, l.Intents = 0, 0 }

// EvictWatermark leaves the bucket without an incarnation.
func (l *L2) EvictWatermark() { l.Watermark, l.Part, l.WatermarkIncarnation = 0, 0, 0 }

// Flush is FLUSHALL.
func (l *L2) Flush() { *l = L2{} }
