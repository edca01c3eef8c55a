package suite

import (
	"fmt"
	"time"
)

// catalogConfig is the configuration of a worker process with one instance.
type catalogConfig struct {
	Kind            string
	Redis, Postgres string
	InFlight        string // the file of slowTable.inFlight
	Products        int
	Readers         int
	Seconds         float64
}

// readStats is what a process, or a reader, counted.
type readStats struct {
	Reads, Writes, Errors  int64
	Loads, Duplicates      int64
	L1, L2                 int64 // hits of the near cache by tier
	Took, Wrote            time.Duration
	All, Hits, Misses      histogram
	HitsTook, MissesTook   time.Duration
	HitsCount, MissesCount int64
}

func (s *readStats) add(o readStats) {
	for _, x := range []struct{ to, from *int64 }{{&s.Reads, &o.Reads}, {&s.Writes, &o.Writes},
		{&s.Errors, &o.Errors}, {&s.Loads, &o.Loads}, {&s.Duplicates, &o.Duplicates},
		{&s.L1, &o.L1}, {&s.L2, &o.L2}, {&s.HitsCount, &o.HitsCount}, {&s.MissesCount, &o.MissesCount}} {
		*x.to += *x.from
	}
	s.Took, s.Wrote, s.HitsTook, s.MissesTook = s.Took+o.Took, s.Wrote+o.Wrote, s.HitsTook+o.HitsTook,
		s.MissesTook+o.MissesTook
	for i := range s.All {
		s.All[i] += o.All[i]
		s.Hits[i] += o.Hits[i]
		s.Misses[i] += o.Misses[i]
	}
}

// saved returns how many fewer database reads a read causes, and how much less time it takes, in percent.
func (s *readStats) saved(without readStats) (reads, mean float64) {
	part := func(x readStats) float64 { return float64(x.Loads) / float64(max(1, x.Reads)) }
	return 100 * (1 - part(*s)/part(without)), 100 * (1 - s.mean()/without.mean())
}

func (s *readStats) mean() float64 { return float64(s.Took.Nanoseconds()) / float64(max(1, s.Reads)) }

// statsRow is a line of the table.
func statsRow(name string, r, without readStats) []string {
	reads, mean := r.saved(without)
	at := func(s *histogram, count int64, q float64) string {
		if count == 0 {
			return ""
		}
		return Nanos(float64(s.at(q)))
	}
	share := func(n int64) string { return fmt.Sprintf("%.2f%%", 100*float64(n)/float64(max(1, r.Reads))) }
	l1 := ""
	if r.L1+r.L2 > 0 {
		l1 = share(r.L1)
	}
	return []string{name, fmt.Sprint(r.Reads), share(r.HitsCount), l1, at(&r.Hits, r.HitsCount, 0.5),
		at(&r.Hits, r.HitsCount, 0.99), at(&r.Misses, r.MissesCount, 0.5), at(&r.Misses, r.MissesCount, 0.99),
		at(&r.All, r.Reads, 0.5), at(&r.All, r.Reads, 0.99), Nanos(r.mean()), fmt.Sprintf("%.1f%%", mean),
		fmt.Sprint(r.Loads), fmt.Sprint(r.Duplicates), fmt.Sprintf("%.3f%%",
			100*float64(r.Loads)/float64(max(1, r.Reads))), fmt.Sprintf("%.2f%%", reads),
		Nanos(float64(r.Wrote.Nanoseconds()) / float64(max(1, r.Writes))), fmt.Sprint(r.Errors)}
}
