//go:build unix

package history

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// Waiting says how long a read may take.
type Waiting struct {
	// Slack is how long a read may take while Redis and the source answer: the work of the read, and what the
	// scheduler of a busy machine adds. Zero: the rule is not checked.
	Slack time.Duration
	// Deadline is the caller's: a read returns by then, whatever fails.
	Deadline time.Duration
	// Slow is the duration from which an answer, or a gap between two questions, explains waiting while it lasts.
	Slow time.Duration
	// Lost is the duration from which either goes on to explain it: connections and leases may have been lost. So
	// does an answer that failed, and the death of a process.
	Lost time.Duration
	// Settle is for how long it does.
	Settle time.Duration
}

// Answer is one question of a process to Redis or to the source.
type Answer struct {
	Process        uint16
	Invoke, Return int64
	Failed         bool
}

// span is a stretch of time.
type span struct{ from, to int64 }

// outages are the times that explain waiting, in order and without overlap.
type outages struct {
	all     []span            // on any instance
	stopped map[uint16][]span // by process: it did not run
}

// outages are what the questions of the instances show.
func (h *History) outages() outages {
	o := outages{stopped: map[uint16][]span{}}
	byInstance := map[uint16][]Answer{}
	for p, answers := range h.Answers {
		o.stopped[p] = union(h.gaps(answers))
		byInstance[h.Instances[p]] = append(byInstance[h.Instances[p]], answers...)
	}
	for _, answers := range byInstance {
		slices.SortFunc(answers, func(a, b Answer) int { return cmp.Compare(a.Invoke, b.Invoke) })
		o.all = append(o.all, h.gaps(answers)...)
		for _, a := range answers {
			switch {
			case a.Failed:
				o.all = append(o.all, h.settled(a.Invoke, a.Return))
			case time.Duration(a.Return-a.Invoke) >= h.Waiting.Slow:
				o.all = append(o.all, h.explains(a.Invoke, a.Return))
			}
		}
	}
	for _, w := range h.Windows {
		if w.Congested {
			o.all = append(o.all, h.settled(w.From, w.Healed))
		}
	}
	o.all = union(o.all)
	return o
}

// explains is the time in which something explains waiting that lasted for a stretch. A stretch in which connections
// are lost explains waiting until they have settled too.
func (h *History) explains(from, to int64) span {
	if to-from >= int64(h.Waiting.Lost) {
		return h.settled(from, to)
	}
	return span{from, to}
}

// settled is a stretch and the time until connections have settled after it.
func (h *History) settled(from, to int64) span {
	return span{from, min(to, Forever-int64(h.Waiting.Settle)) + int64(h.Waiting.Settle)}
}

// gaps are the stretches in which a process, or one after the other of an instance, asked nothing and awaited
// nothing. The time before the first and after the last question is one too.
func (h *History) gaps(answers []Answer) (out []span) {
	end := int64(-Forever)
	for i, a := range answers {
		died := i == 0 || answers[i-1].Process != a.Process
		if died || time.Duration(a.Invoke-end) >= h.Waiting.Slow {
			if died {
				out = append(out, h.settled(end, a.Invoke))
			} else {
				out = append(out, h.explains(end, a.Invoke))
			}
		}
		end = max(end, a.Return)
	}
	return append(out, h.settled(end, Forever))
}

// union sorts spans and joins those that touch.
func union(spans []span) (out []span) {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, s := range spans {
		if n := len(out); n > 0 && s.from <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, s.to)
			continue
		}
		out = append(out, s)
	}
	return out
}

// overlap is how much of a stretch lies in spans.
func overlap(spans []span, from, to int64) (sum time.Duration) {
	i := sort.Search(len(spans), func(i int) bool { return spans[i].to > from })
	for ; i < len(spans) && spans[i].from < to; i++ {
		sum += time.Duration(min(to, spans[i].to) - max(from, spans[i].from))
	}
	return sum
}

// unexplained is how much longer a read took than it may; 0: it did not. A process that asked nothing is not judged:
// its reads look like those of a process that was stopped.
func (o *outages) unexplained(h *History, r *Record) time.Duration {
	took := time.Duration(r.Return - r.Invoke)
	if h.Waiting.Slack <= 0 || took <= h.Waiting.Slack || len(h.Answers[r.Process]) == 0 {
		return 0
	}
	if late := took - h.Waiting.Slack - overlap(o.all, r.Invoke, r.Return); late > 0 {
		return late
	}
	return max(0, took-h.Waiting.Slack-h.Waiting.Deadline-overlap(o.stopped[r.Process], r.Invoke, r.Return))
}

// answered is the part of the run in which nothing explains waiting, and the longest wait without a reason: the time
// of a read less what of it has an explanation. The rule bounds it by the slack.
func (h *History) answered() (part float64, longest time.Duration) {
	o := h.outages()
	from, to := int64(Forever), int64(-Forever)
	for i := range h.Reads {
		r := &h.Reads[i]
		from, to = min(from, r.Invoke), max(to, r.Return)
		took := time.Duration(r.Return - r.Invoke)
		if took > longest && len(h.Answers[r.Process]) > 0 {
			longest = max(longest, took-overlap(o.all, r.Invoke, r.Return))
		}
	}
	if to <= from {
		return 0, 0
	}
	return 1 - float64(overlap(o.all, from, to))/float64(to-from), longest
}
