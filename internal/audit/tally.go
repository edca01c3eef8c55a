package audit

import (
	"math"
	"slices"
	"sync"
	"time"
)

// Scales are the times after which a difference is looked at again, and for which the consistency is reported.
var Scales = []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute}

// z is the quantile of the normal distribution for an interval of 95%.
const z = 1.959964

// Scale is the consistency within one time: of so many reads that were judged, so many were inconsistent.
type Scale struct {
	Within       time.Duration
	Judged       uint64
	Inconsistent uint64
}

// Share is the part of the reads that were consistent; 1 if none was judged.
func (s Scale) Share() float64 {
	if s.Judged == 0 {
		return 1
	}
	return 1 - float64(s.Inconsistent)/float64(s.Judged)
}

// Interval is where the true share lies with 95% confidence (Wilson's score interval). Without any read it is 0 to 1.
// With n reads and no inconsistency, the lower end is about 1 - 3.84/n.
func (s Scale) Interval() (low, high float64) {
	if s.Judged == 0 {
		return 0, 1
	}
	n, p := float64(s.Judged), s.Share()
	middle := p + z*z/(2*n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	low, high = (middle-half)/(1+z*z/n), (middle+half)/(1+z*z/n)
	return max(0, low), min(1, high)
}

// Nines is how many nines the share has at least, with 95% confidence: 3 for 99.9%.
func (s Scale) Nines() float64 {
	low, _ := s.Interval()
	return max(0, -math.Log10(max(1-low, 1e-18)))
}

// tally counts the judgements by scale. It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex
	scales []Scale
}

// newTally counts for the scales up to the longest, if that is not 0, and for one more time.
func newTally(wait, longest time.Duration) *tally {
	within := slices.DeleteFunc(slices.Clone(Scales), func(d time.Duration) bool { return longest > 0 && d > longest })
	if !slices.Contains(within, wait) {
		within = append(within, wait)
		slices.Sort(within)
	}
	t := &tally{}
	for _, d := range within {
		t.scales = append(t.scales, Scale{Within: d})
	}
	return t
}

// consistent counts a read for the scales from the i-th on: who agrees after a time agrees after a longer one.
func (t *tally) consistent(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ; i < len(t.scales); i++ {
		t.scales[i].Judged++
	}
}

// inconsistent counts a read for the i-th scale.
func (t *tally) inconsistent(i int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.scales[i].Judged++
	t.scales[i].Inconsistent++
}

func (t *tally) read() []Scale {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.scales)
}
