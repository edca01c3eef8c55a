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
	Doubted              uint8 // 1: since there are intents, a write of unknown outcome came by
	Unconfirmed          uint8 // 1: the record is unconfirmed
	Watermark            uint8 // position+1
	Part                 uint8 // how much of the transaction after it is applied too, in batches
	WatermarkIncarnation uint8 // the watermark's incarnation
	Round                Round // of the server; the zero Round is none
}

// Round is the relay's last round, as a program that has one bucket sees it. Tokens are counted from 1, and 0 says that
// the next round has not begun.
type Round struct {
	Number, Token uint8
	Head, Upto    uint8 // positions+1
	Incarnation   uint8
}

// Incarnation is the bucket's.
func (l *L2) Incarnation() uint8 {
	if l.Watermark == 0 {
		return 0
	}
	return l.WatermarkIncarnation
}

// Live reports whether there is a record that readers who know the bucket's incarnation believe.
func (l *L2) Live() bool { return l.Unconfirmed == 0 && l.sameIncarnation() }

// sameIncarnation reports whether there is a record of the bucket's incarnation, confirmed or not.
func (l *L2) sameIncarnation() bool { return l.Record > 0 && l.RecordIncarnation == l.Incarnation() }

func (l *L2) drop() { l.Record, l.RecordIncarnation, l.Unconfirmed = 0, 0, 0 }

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
	l.Lease, l.Intents, l.Doubted = 0, 0, 0 // the intents can be there only without the rule
	if incarnation != l.Incarnation() {
		if !ablate.Out(ablate.FillSameIncarnation) {
			return false
		}
		incarnation = l.Incarnation()
	}
	l.Record, l.RecordIncarnation, l.Unconfirmed = version+1, incarnation, 0
	return true
}

// Newest is a version that is newer than every record's.
const Newest = 1<<8 - 1

// Apply is apply.lua; any is version 0, which is newer than everything.
func (l *L2) Apply(version uint8, anyVersion bool) (changed bool) {
	if l.Record > 0 && (anyVersion || !l.sameIncarnation() || l.Record-1 < version) {
		l.drop()
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
	l.Record, l.RecordIncarnation, l.Unconfirmed = version+1, l.Incarnation(), 0
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

// Adopt is adopt.lua on a server of this history, which stands for the incarnation that it draws.
func (l *L2) Adopt(history uint8) {
	if l.Watermark == 0 || l.WatermarkIncarnation != history {
		l.Watermark, l.WatermarkIncarnation = max(l.Watermark, 1), history
	}
}

// Doubt is what the scripts do for a write of unknown outcome. setAside says that a value has become unconfirmed.
func (l *L2) Doubt() (changed, setAside bool) {
	switch {
	case l.Live():
		l.Unconfirmed, changed, setAside = 1, true, true
	case l.Record > 0 && !l.sameIncarnation():
		l.drop()
		changed = true
	}
	l.Lease = 0
	return changed, setAside
}

// PlaceIntent is place_intent.lua of writer number w.
func (l *L2) PlaceIntent(w uint8) (changed, setAside bool) {
	if l.Intents == 0 {
		l.Doubted = 0
	}
	l.Lease, l.Intents = 0, l.Intents|1<<w
	return l.Doubt()
}

// Outcome is what a writer knows when it resolves its intent.
type Outcome uint8

// The outcomes.
const (
	Committed Outcome = iota
	Unknown
	Refused
	Restore
)

// ResolveIntent is resolve_intent.lua.
func (l *L2) ResolveIntent(w uint8, o Outcome, version uint8, anyVersion bool) (changed bool) {
	switch o {
	case Committed:
		changed = l.Apply(version, anyVersion)
	case Unknown:
		changed, _ = l.Doubt()
	}
	if l.Intents == 0 {
		return changed
	}
	if o == Unknown {
		l.Doubted = 1
	}
	found := l.Intents>>w&1 == 1
	if l.Intents &^= 1 << w; l.Intents > 0 {
		return changed
	}
	if o == Restore && found && (l.Doubted == 0 || ablate.Out(ablate.RestoreUndoubted)) && l.Unconfirmed == 1 &&
		l.sameIncarnation() {
		l.Unconfirmed, changed = 0, true
	}
	l.Doubted = 0
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
	l.drop()
	return changed
}

// EvictLease is also the end of the lease, or of the intents.
func (l *L2) EvictLease() { l.Lease, l.Intents, l.Doubted = 0, 0, 0 }

// EvictWatermark leaves the bucket without an incarnation.
func (l *L2) EvictWatermark() { l.Watermark, l.Part, l.WatermarkIncarnation = 0, 0, 0 }

// BeginRound is begin_round.lua: it returns the round that stands, with the token of the next.
func (l *L2) BeginRound(token uint8) Round {
	if l.Round.Number > 0 && l.Round.Token == 0 {
		if ablate.Out(ablate.RoundToken) {
			token = 1
		}
		l.Round.Token = token
	}
	return l.Round
}

// PublishRound is publish_round.lua. needed is a watermark (position+1, or 0 for none) and its incarnation.
func (l *L2) PublishRound(seen, next Round, needed, incarnation uint8) (published bool) {
	if l.Round != seen && !ablate.Out(ablate.RoundOnce) {
		return false
	}
	if needed > 0 && (l.Watermark < needed || l.WatermarkIncarnation != incarnation) &&
		!ablate.Out(ablate.RoundBuckets) {
		return false
	}
	l.Round = next
	return true
}

// EvictRound leaves no round.
func (l *L2) EvictRound() { l.Round = Round{} }

// Flush is FLUSHALL.
func (l *L2) Flush() { *l = L2{} }
