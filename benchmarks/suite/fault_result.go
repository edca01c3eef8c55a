package suite

import "time"

// shot is one operation. Times are since the load began.
type operation struct {
	instance     int
	due          time.Duration // when it should have begun
	took         time.Duration // since then
	failed       bool
	write, stale bool
	age          time.Duration // of a stale value: since a newer one was acknowledged
}

// played is what happened.
type faultResult struct {
	operations           []operation
	faultStart, faultEnd time.Duration // of the fault
	loads                int64         // of the source before it
	// audited are reads of every key that was written, on each instance, when nobody writes any more.
	audited, leftStale, leftFailing int
}

// looked is what is reported of one phase's reads.
type readSummary struct {
	reads, failed, stale int
	stalest              time.Duration
	p50, p99, max        time.Duration
}

// look sums up the reads that should have begun in a phase; counts says which instances' are taken.
func (p *faultResult) summarize(from, to time.Duration, counts func(instance int) bool) (s readSummary) {
	var took []float64
	for _, o := range p.operations {
		if o.write || o.due < from || o.due >= to || !counts(o.instance) {
			continue
		}
		s.reads++
		took = append(took, float64(o.took))
		if o.failed {
			s.failed++
		}
		if o.stale {
			s.stale++
			s.stalest = max(s.stalest, o.age)
		}
	}
	if s.reads > 0 {
		s.p50, s.p99, s.max = time.Duration(quantile(took, 0.5)), time.Duration(quantile(took, 0.99)),
			time.Duration(quantile(took, 1))
	}
	return s
}

// over are the reads of a value older than that.
func (p *faultResult) olderThan(bound time.Duration) (n int) {
	for _, o := range p.operations {
		if o.stale && o.age > bound {
			n++
		}
	}
	return n
}

// recovered is the time from the fault's end to when the last read that failed should have begun.
func (p *faultResult) lastFailure(counts func(instance int) bool) (last time.Duration) {
	for _, o := range p.operations {
		if !o.write && o.failed && counts(o.instance) {
			last = max(last, o.due-p.faultEnd)
		}
	}
	return last
}

// writes are those from the fault's begin to its end, those that failed, and how long they took.
func (p *faultResult) writes() (n, failed int, p99 time.Duration) {
	var took []float64
	for _, o := range p.operations {
		if o.write && o.due >= p.faultStart && o.due < p.faultEnd {
			n++
			took = append(took, float64(o.took))
			if o.failed {
				failed++
			}
		}
	}
	if n > 0 {
		p99 = time.Duration(quantile(took, 0.99))
	}
	return n, failed, p99
}

func percent(n, of int) float64 { return 100 * float64(n) / float64(max(1, of)) }
