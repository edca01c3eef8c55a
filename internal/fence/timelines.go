package fence

import (
	"sync"
)

// maxTimelines is how many timelines have numbers; stampMark is none of them.
const maxTimelines = stampMark - 1

// timelines numbers the timelines of the source that this process has met, so that a stamp can name one in seven bits.
type timelines struct {
	mu  sync.Mutex
	ids []uint64
}

// number is that of a timeline; 0 if there is no timeline, or no number is left.
func (t *timelines) number(timeline uint64) uint8 {
	if timeline == 0 {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.ids); i > 0; i-- { // the last is almost always meant
		if t.ids[i-1] == timeline {
			return uint8(i)
		}
	}
	if len(t.ids) == maxTimelines {
		return 0
	}
	t.ids = append(t.ids, timeline)
	return uint8(len(t.ids))
}

// SameTimeline reports whether the source was in this timeline when the entry's value was loaded, and did not change it
// during the load. Versions of different timelines say nothing about each other, even if they are equal.
func (s *Stamp) SameTimeline(f *Fence, timeline uint64) bool {
	return timeline != 0 && s.timeline&^stampMark != 0 &&
		f.timelines.number(timeline) == s.timeline&^stampMark
}
