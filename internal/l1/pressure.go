package l1

import "sync/atomic"

// ristretto's admission compares how often keys were read. A Get of ristretto counts a read, and a hit in the front
// table does not. To count all of them would cost what the table saves; to count a part of them would rank the keys in
// the table below those that miss, of which each read is counted. So the part depends on whether anything is at stake:
//
//   - While L1 evicts and rejects nothing, one hit in hitSample is counted.
//   - Each entry that L1 evicts or rejects has the next hitsCounted hits counted, all of them.
//
// So every hit is counted while more than one read in hitsCounted is such a miss, and the cost is bounded by that of
// the misses. TestFront_HitRatioIsThatOfRistretto compares the hit ratios.

// hitSample is that one hit in so many is counted when L1 is under no pressure; a power of two.
const hitSample = 16

// hitsCounted is how many hits are counted for each entry that was evicted or rejected.
const hitsCounted = 64

// maxPressure bounds how many hits are counted after a burst of misses.
const maxPressure = 256 * hitsCounted

// pressure is the number of hits that are still to be counted.
type pressure struct{ hits atomic.Int64 }

// raise notes that an entry was evicted or rejected.
func (p *pressure) raise() {
	if p.hits.Load() < maxPressure {
		p.hits.Add(hitsCounted)
	}
}

// sampled reports whether the hit of a number belongs to the sample. The multiples of the golden ratio spread evenly
// over a circle, and so do those of every arithmetic sequence. So readers that read keys by turns, and number their
// hits one by one, have all their keys counted alike.
func sampled(number uint64) bool { return number*0x9E3779B97F4A7C15 < 1<<64/hitSample }
