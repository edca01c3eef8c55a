package fence

import (
	"sort"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// samples remembers recent readings of the source's position, in the order in which they began.
//
// A sample covers every commit that was acknowledged before it began. So to cover something that was seen at some
// moment, any sample begun later will do, and the first of them asks the least of L2.
type samples struct {
	mu        sync.Mutex
	lastBegun uint64 // the number of the last sample begun; 0: the source is not sampled
	completed []sample
}

type sample struct {
	seq   uint64
	begun int64 // by the fence's clock
	at    coherence.Position
}

const maxSamples = 1024

// latest is the number of the last sample begun.
func (s *samples) latest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastBegun
}

// firstAfter is the position of the first completed sample that began after sample number seq.
func (s *samples) firstAfter(seq uint64) (coherence.Position, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.completed), func(i int) bool { return s.completed[i].seq > seq })
	if i == len(s.completed) {
		return coherence.Position{}, false
	}
	return s.completed[i].at, true
}

// newest is the position of the last completed sample.
func (s *samples) newest() (at coherence.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.completed) > 0 {
		at = s.completed[len(s.completed)-1].at
	}
	return at
}

// asOf is when the newest sample began whose position is at or before upto, 0 if there is none. Everything acknowledged
// before that moment is settled at upto.
func (s *samples) asOf(upto coherence.Position) int64 {
	if upto.IsZero() {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.completed) - 1; i >= 0; i-- {
		if upto.Covers(s.completed[i].at) {
			return s.completed[i].begun
		}
	}
	return 0
}

// add completes a sample. Samples may overlap: a round's takes longer than a question to the source.
func (s *samples) add(done sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.completed); n > 0 && s.completed[n-1].seq >= done.seq {
		return // one that began later has ended already, and shows more
	}
	if len(s.completed) == maxSamples {
		s.completed = append(s.completed[:0], s.completed[maxSamples/2:]...)
	}
	s.completed = append(s.completed, done)
}

// dropOtherTimelines forgets the samples if they are of another timeline than at, and reports whether they are.
func (s *samples) dropOtherTimelines(at coherence.Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.completed)
	if n == 0 || s.completed[n-1].at.Timeline == at.Timeline {
		return false
	}
	s.completed = s.completed[:0]
	return true
}

// Sample is a reading of the source's position under way, by a question to the source or by the relay's rounds.
type Sample struct{ sample sample }

// Begun is when it began, by the fence's clock.
func (s Sample) Begun() int64 { return s.sample.begun }

// BeginSample must be called before the source is asked for its position: the clock is read first.
func (f *Fence) BeginSample() Sample {
	f.samples.mu.Lock()
	defer f.samples.mu.Unlock()
	f.samples.lastBegun++
	return Sample{sample{seq: f.samples.lastBegun, begun: f.now()}}
}

// EndSample records what the source answered, and moves the as-of moments that it allows to move. A sample that failed
// is never ended.
//
// A position of another timeline means that the source lost commits, or is another one: everything known of the old
// timeline is dropped, with all of L1. That comes first:
//
//	entry: version 7 of the old timeline, which lost it      the new timeline has a 7 of its own
//	sample: is recorded, of the new timeline
//	event: version 7 is known, so it evicts nothing          barrier: covers the sample, and so the entry
//	sample: ends the session
func (f *Fence) EndSample(s Sample, at coherence.Position) {
	f.endSample(s, at)
	f.advanceAll()
}

func (f *Fence) endSample(s Sample, at coherence.Position) {
	other := f.samples.dropOtherTimelines(at)
	f.timeline.Store(at.Timeline)
	f.sampled.Store(true)
	if other && !ablate.Out(ablate.TimelineSession) {
		f.newTimeline()
	}
	s.sample.at = at
	if ablate.Out(ablate.ClockBeforeSample) {
		s.sample.begun = f.now()
	}
	f.samples.add(s.sample)
}

// newTimeline forgets the versions of the timeline before: the source may have lost them. It may have kept them too, as
// after a restart, and then L2 may lack what this process has served (C3):
//
//	reader: loads version 14, and is served it       the source has restarted; L2 has 13, and its relay is away
//	sample: the timeline is another one              reader: L2 returns 13, which nothing forbids any more
//
// So the min versions are pushed out, all at once: L2 is not believed until it has applied what a sample covers that
// begins after this.
func (f *Fence) newTimeline() {
	next := f.samples.latest() + 1
	for i := range f.buckets {
		b := &f.buckets[i]
		b.mu.Lock()
		waits := len(b.minVersions.byHash) > 0 || b.awaitingSample != 0 || !b.requiredWatermark.IsZero()
		b.minVersions.init(b.minVersions.max)
		b.requiredWatermark, b.awaitingSample = coherence.Position{}, 0
		if waits && !ablate.Out(ablate.RequiredWatermark) {
			b.awaitingSample = next
		}
		b.newSession()
		b.mu.Unlock()
	}
	f.events.restart(f)
}
