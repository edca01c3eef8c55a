package suite

import "time"

// operation is one read or write. Times count from the beginning of the load.
type operation struct {
	instance     int
	due          time.Duration // when it should have started
	took         time.Duration // from due until its end
	failed       bool
	write, stale bool
	age          time.Duration // of a stale value: the time since a newer one was acknowledged
}

// faultResult is the result of a run.
type faultResult struct {
	operations           []operation
	faultStart, faultEnd time.Duration // the fault; faultEnd is when its end began
	loads                int64         // of the source before the fault
	// audited counts reads of every key that was written, on each instance, after the last write. leftStale of them
	// returned an old value, and leftFailing an error.
	audited, leftStale, leftFailing int
}

// readSummary sums up the reads of one phase.
type readSummary struct {
	reads, failed, stale int
	stalest              time.Duration
	p50, p99, max        time.Duration
}

// summarize sums up the reads that should have started in a phase, on the instances that counts selects.
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

// olderThan counts the reads of a value older than the bound.
func (p *faultResult) olderThan(bound time.Duration) (n int) {
	for _, o := range p.operations {
		if o.stale && o.age > bound {
			n++
		}
	}
	return n
}

// lastFailure is the time from the end of the fault until the last read that failed should have started.
func (p *faultResult) lastFailure(counts func(instance int) bool) (last time.Duration) {
	for _, o := range p.operations {
		if !o.write && o.failed && counts(o.instance) {
			last = max(last, o.due-p.faultEnd)
		}
	}
	return last
}

// writes sums up the writes during the fault.
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
