package fence

import (
	"sort"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// samples remembers recent readings of the source's position, in the order they began.
//
// A position read by a sample covers every commit acknowledged before the sample began. So to cover something seen at some
// moment, any sample begun later will do, and the first one asks the least of L2.
type samples struct {
	mu        sync.Mutex
	lastBegun uint64 // the number of the last sample begun; 0: the source is not sampled
	completed []sample
}

type sample struct {
	seq   uint64
	begun int64 // begun, by the fence's clock
	at    coherence.Position
}

const maxSamples = 1024

func (p *samples) latest() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastBegun
}

// after is the position of the first completed sample that began after sample number seq.
func (p *samples) firstAfter(seq uint64) (coherence.Position, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := sort.Search(len(p.completed), func(i int) bool { return p.completed[i].seq > seq })
	if i == len(p.completed) {
		return coherence.Position{}, false
	}
	return p.completed[i].at, true
}

// newest is the position of the last completed sample.
func (p *samples) newest() (at coherence.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.completed) > 0 {
		at = p.completed[len(p.completed)-1].at
	}
	return at
}

// covered is when the newest sample began whose position is at or before upto, 0 if there is none: everything that was
// acknowledged before that moment is settled at upto.
func (p *samples) asOf(upto coherence.Position) int64 {
	if upto.IsZero() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.completed) - 1; i >= 0; i-- {
		if upto.Covers(p.completed[i].at) {
			return p.completed[i].begun
		}
	}
	return 0
}

// Sample is a reading of the source's position under way.
type Sample struct{ p sample }

// BeginSample must be called before the source is asked for its position: the clock is read first. Samples do not overlap.
func (f *Fence) BeginSample() Sample {
	f.samples.mu.Lock()
	defer f.samples.mu.Unlock()
	f.samples.lastBegun++
	return Sample{sample{seq: f.samples.lastBegun, begun: f.now()}}
}

// EndSample records what the source answered, and moves the proofs that it allows to move; a sample that failed is simply
// never ended. A position of another timeline means that the source lost commits or is another one: whatever was known of the
// old timeline is dropped, with all of L1. That comes first:
//
//	entry: version 7 of the old timeline, which lost it      the new timeline has a 7 of its own
//	sample: is recorded, of the new timeline
//	event: version 7 is known, so it evicts nothing         barrier: covers the sample, and proves the entry
//	sample: ends the session
func (f *Fence) EndSample(pr Sample, at coherence.Position) {
	f.samples.mu.Lock()
	d := f.samples.completed
	changed := len(d) > 0 && d[len(d)-1].at.Timeline != at.Timeline
	if changed {
		f.samples.completed = d[:0]
	}
	f.samples.mu.Unlock()
	f.timeline.Store(at.Timeline)
	if changed {
		f.newTimeline()
	}
	pr.p.at = at
	if ablate.Out(ablate.ClockBeforeSample) {
		pr.p.begun = f.now()
	}
	f.samples.mu.Lock()
	d = f.samples.completed
	if len(d) == maxSamples {
		d = append(d[:0], d[maxSamples/2:]...)
	}
	f.samples.completed = append(d, pr.p)
	f.samples.mu.Unlock()
	f.advanceAll()
}

func (f *Fence) newTimeline() {
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		b.minVersions.init(b.minVersions.max)
		b.requiredWatermark, b.awaitingSample = coherence.Position{}, 0
		b.newSession()
		b.mu.Unlock()
	}
	f.events.restart(f)
}
