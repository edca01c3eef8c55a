//go:build unix

package history

import (
	"slices"
	"sort"
	"time"
)

// Row is what was seen under one fault, or under none.
type Row struct {
	Fault   string
	Times   int // how often it was injected
	Checked int // reads that got an answer
	Errors  int // reads that got none
	Broken  [Guarantees]int
	Stalest time.Duration // of unlabelled reads with a bound: for how long something newer had been known when it began
	Lagging time.Duration // the same of plain reads, to which no bound applies
	Served  [tiers]int    // of plain and bounded reads, and those that take stale values
	Recover time.Duration // the longest time from heal to the gate's opening
}

// Share is the part of the reads that a tier served, of those whose tier is known.
func (r *Row) Share(t Tier) float64 {
	all := 0
	for i, n := range r.Served {
		if Tier(i) != Hidden {
			all += n
		}
	}
	if all == 0 {
		return 0
	}
	return float64(r.Served[t]) / float64(all)
}

// Broke is the number of violations.
func (r *Row) Broke() (n int) {
	for _, b := range r.Broken {
		n += b
	}
	return n
}

func (r *Row) add(o *Row) {
	r.Times, r.Checked, r.Errors = r.Times+o.Times, r.Checked+o.Checked, r.Errors+o.Errors
	for i := range r.Broken {
		r.Broken[i] += o.Broken[i]
	}
	for i := range r.Served {
		r.Served[i] += o.Served[i]
	}
	r.Stalest, r.Lagging, r.Recover = max(r.Stalest, o.Stalest), max(r.Lagging, o.Lagging), max(r.Recover, o.Recover)
}

// Report is the outcome of a check.
type Report struct {
	Rows       []Row // one for each fault, by name
	Quiet      Row   // while no fault was at work
	Total      Row
	Violations []Violation // the first maxViolations
	Lag        Lag
	Linear     Linear
	Answered   float64       // the part of the run in which Redis and the source answered every instance
	Longest    time.Duration // the longest wait without a reason: Waiting.Slack bounds it
}

// maxViolations bounds how many violations are kept; all are counted.
const maxViolations = 100

// Judge checks a history and sums it up.
func Judge(h *History) (*Report, error) {
	r := &Report{Quiet: Row{Fault: "(none)"}, Total: Row{Fault: "total"}}
	byFault := map[string]*Row{}
	for _, w := range h.Windows {
		row := byFault[w.Fault]
		if row == nil {
			row = &Row{Fault: w.Fault}
			byFault[w.Fault] = row
		}
		row.Times++
		row.Recover = max(row.Recover, time.Duration(w.Recovered-w.Healed))
	}
	err := Check(h, func(read *Record, age time.Duration, broken []Violation) {
		row := &r.Quiet
		if w := h.during(read.Invoke); w != nil {
			row = byFault[w.Fault]
		}
		row.count(read, age, broken)
		for _, v := range broken {
			if len(r.Violations) < maxViolations {
				r.Violations = append(r.Violations, v)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for _, row := range byFault {
		r.Rows = append(r.Rows, *row)
		r.Total.add(row)
	}
	slices.SortFunc(r.Rows, func(a, b Row) int {
		if a.Fault < b.Fault {
			return -1
		}
		return 1
	})
	r.Total.add(&r.Quiet)
	r.Answered, r.Longest = h.answered()
	r.Lag = h.lag()
	r.Linear = h.linearizable()
	return r, nil
}

// during is the window that a time is in; nil: none.
func (h *History) during(at int64) *Window {
	i := sort.Search(len(h.Windows), func(i int) bool { return h.Windows[i].From > at }) - 1
	if i < 0 || at >= h.Windows[i].Recovered {
		return nil
	}
	return &h.Windows[i]
}

func (r *Row) count(read *Record, age time.Duration, broken []Violation) {
	for _, v := range broken {
		r.Broken[v.Guarantee]++
	}
	switch read.Op {
	case Plain, Bounded, ServeStale:
		r.Served[read.Tier]++
	}
	if read.Flags&Failed != 0 {
		r.Errors++
		return
	}
	r.Checked++
	switch {
	case read.Flags&Stale != 0:
	case read.Bound > 0:
		r.Stalest = max(r.Stalest, age)
	case read.Op == Plain:
		r.Lagging = max(r.Lagging, age)
	}
}
