package fence

import (
	"sort"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// probes remembers recent readings of the source's position, in the order they began.
//
// A position read by a probe covers every commit acknowledged before the probe began. So to cover something seen at some
// moment, any probe begun later will do, and the first one asks the least of L2.
type probes struct {
	mu   sync.Mutex
	last uint64 // the number of the last probe begun; 0: the source is not probed
	done []probe
}

type probe struct {
	seq uint64
	s   int64 // begun, by the fence's clock
	at  coherence.Position
}

const maxProbes = 1024

func (p *probes) begun() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// after is the position of the first completed probe that began after probe number seq.
func (p *probes) after(seq uint64) (coherence.Position, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.done), func(i int) bool { return p.done[i].seq > seq })
	if i == len(p.done) {
		return coherence.Position{}, false
	}
	return p.done[i].at, true
}

// newest is the position of the last completed probe.
func (p *probes) newest() (at coherence.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.done) > 0 {
		at = p.done[len(p.done)-1].at
	}
	return at
}

// covered is when the newest probe began whose position is at or before upto, 0 if there is none: everything that was
// acknowledged before that moment is settled at upto.
func (p *probes) covered(upto coherence.Position) int64 {
	if upto.IsZero() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.done) - 1; i >= 0; i-- {
		if upto.Covers(p.done[i].at) {
			return p.done[i].s
		}
	}
	return 0
}

// Probe is a reading of the source's position under way.
type Probe struct{ p probe }

// BeginProbe must be called before the source is asked for its position: the clock is read first. Probes do not overlap.
func (f *Fence) BeginProbe() Probe {
	f.probes.mu.Lock()
	defer f.probes.mu.Unlock()
	f.probes.last++
	return Probe{probe{seq: f.probes.last, s: f.now()}}
}

// EndProbe records what the source answered, and moves the proofs that it allows to move; a probe that failed is simply
// never ended. A position of another timeline means that the source lost commits or is another one: whatever was known of the
// old timeline is dropped, with all of L1. That comes first:
//
//	entry: version 7 of the old timeline, which lost it      the new timeline has a 7 of its own
//	probe: is recorded, of the new timeline
//	event: version 7 is known, so it evicts nothing         barrier: covers the probe, and proves the entry
//	probe: ends the session
func (f *Fence) EndProbe(pr Probe, at coherence.Position) {
	f.probes.mu.Lock()
	d := f.probes.done
	changed := len(d) > 0 && d[len(d)-1].at.Timeline != at.Timeline
	if changed {
		f.probes.done = d[:0]
	}
	f.probes.mu.Unlock()
	f.timeline.Store(at.Timeline)
	if changed {
		f.newTimeline()
	}
	pr.p.at = at
	if ablate.Out(ablate.ClockBeforeProbe) {
		pr.p.s = f.now()
	}
	f.probes.mu.Lock()
	d = f.probes.done
	if len(d) == maxProbes {
		d = append(d[:0], d[maxProbes/2:]...)
	}
	f.probes.done = append(d, pr.p)
	f.probes.mu.Unlock()
	f.proveAll()
}

func (f *Fence) newTimeline() {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		b.floors.init(b.floors.max)
		b.horizon, b.awaiting = coherence.Position{}, 0
		b.newSession()
		b.mu.Unlock()
	}
	f.events.restart(f)
}
