package suite

import (
	"math"
	"time"
)

// histogram counts durations in steps of an eighth of a power of two.
type histogram [400]int64

func (s *histogram) add(d time.Duration) {
	s[min(len(s)-1, int(8*math.Log2(float64(max(1, d.Nanoseconds())))))]++
}

// at is a quantile, at most an eighth of a power of two too high.
func (s *histogram) at(q float64) time.Duration {
	var all, upto int64
	for _, n := range s {
		all += n
	}
	for i, n := range s {
		if upto += n; all > 0 && float64(upto) >= q*float64(all) {
			return time.Duration(math.Exp2(float64(i+1) / 8))
		}
	}
	return 0
}
