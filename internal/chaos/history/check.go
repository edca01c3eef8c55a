//go:build unix

package history

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Guarantee names what was broken; the package documentation says what each means.
type Guarantee uint8

// The guarantees.
const (
	C1 Guarantee = iota
	C2
	C3
	C4
	C5
	C6
	C7
	FreshReads
	StaleLabel
	Wait
	Guarantees // how many there are
)

var guaranteeNames = [...]string{"C1", "C2", "C3", "C4", "C5", "C6", "C7", "fresh", "stale", "wait"}

// String is the guarantee's name.
func (g Guarantee) String() string { return guaranteeNames[min(int(g), len(guaranteeNames)-1)] }

// Violation is a read that broke a guarantee.
type Violation struct {
	Guarantee Guarantee
	Read      Record
	Want      uint64        // the least version that would have been right, where that is the matter
	Late      time.Duration // for how long that had been known beyond what was allowed, likewise
}

// String says what happened.
func (v Violation) String() string {
	r := &v.Read
	s := fmt.Sprintf("%v: process %d, key %d, %v read at %d (%v), from %v: "+
		"version %d, hash %x, flags %b, claims %v, age %v", v.Guarantee, r.Process, r.Key,
		r.Op, r.Invoke, time.Duration(r.Return-r.Invoke), r.Tier, r.Version, r.Hash, r.Flags, r.Staleness, r.Age)
	if v.Guarantee == Wait {
		s += fmt.Sprintf("; %v of its wait had no reason", v.Late)
	}
	if v.Want > 0 {
		s += fmt.Sprintf("; want %d or newer, %v too late", v.Want, v.Late)
	}
	return s
}

// Verdict is called for every read, with what it broke. Reads of one key are judged in order of invocation.
type Verdict func(read *Record, age time.Duration, broken []Violation)

// Check judges every read. It sorts h.Reads. The error is a ground truth that contradicts itself.
func Check(h *History, each Verdict) error {
	lost := h.losses()
	truths, err := h.truths()
	if err != nil {
		return err
	}
	for i := range h.Reads {
		r := &h.Reads[i]
		if _, gone := lost.kept(r, int64(h.Skew)); r.sawVersion() && !gone {
			truths[r.Key].saw(r.Version, r.Return)
		}
	}
	for _, t := range truths {
		t.settle()
	}
	reads := h.Reads
	slices.SortFunc(reads, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Invoke, b.Invoke))
	})
	own, waits := h.ownWrites(), h.outages()
	for len(reads) > 0 {
		n := sort.Search(len(reads), func(i int) bool { return reads[i].Key > reads[0].Key })
		c := checker{h: h, t: truths[reads[0].Key], own: own[reads[0].Key], lost: lost, waits: waits, each: each}
		c.key(reads[:n])
		reads = reads[n:]
	}
	return nil
}

// sawVersion reports whether the read returned a version.
func (r *Record) sawVersion() bool { return r.Flags&(Failed|Unknown) == 0 }

// ownWrites are the writes that processes with a cache have finished, by key.
func (h *History) ownWrites() map[uint32][]Write {
	out := make(map[uint32][]Write)
	for _, w := range h.Writes {
		if w.Invalidated != Forever && w.Version != 0 && h.Instances[w.Process] != NoInstance {
			out[w.Key] = append(out[w.Key], w)
		}
	}
	return out
}

// checker judges the reads of one key.
type checker struct {
	h      *History
	t      *truth
	own    []Write
	lost   losses
	waits  outages
	each   Verdict
	broken []Violation
}

// key judges reads that are in order of invocation. For what a process must not go behind, its reads and writes are
// walked a second time in order of return.
func (c *checker) key(reads []Record) {
	type done struct {
		at      int64
		process uint16
		version uint64
		write   bool
	}
	var ended []done
	for i := range reads {
		r := &reads[i]
		if _, gone := c.lost.kept(r, int64(c.h.Skew)); r.sawVersion() && !gone && c.t.at(r.Version) != nil {
			ended = append(ended, done{r.Return, r.Process, r.Version, false})
		}
	}
	for _, w := range c.own {
		ended = append(ended, done{w.Invalidated, w.Process, w.Version, true})
	}
	slices.SortFunc(ended, func(a, b done) int { return cmp.Compare(a.at, b.at) })
	read, written := map[uint16]uint64{}, map[uint16]uint64{}
	for i := range reads {
		r := &reads[i]
		for len(ended) > 0 && ended[0].at < r.Invoke {
			d := &ended[0]
			if d.write {
				written[d.process] = max(written[d.process], d.version)
			} else {
				read[d.process] = max(read[d.process], d.version)
			}
			ended = ended[1:]
		}
		c.judge(r, read[r.Process], written[r.Process])
	}
}

// judge judges a read of a process that had read and written certain versions before.
func (c *checker) judge(r *Record, read, written uint64) {
	c.broken = c.broken[:0]
	skew := int64(c.h.Skew)
	if late := c.waits.unexplained(c.h, r); late > 0 {
		c.breaks(Wait, r, 0, late)
	}
	switch {
	case r.Flags&NotReady != 0:
		if c.t.need(r.Invoke-skew) >= r.Param {
			c.breaks(C4, r, 0, 0)
		}
		c.each(r, 0, c.broken)
		return
	case !r.sawVersion(): // it failed, or it is an absence that Get reports: that has no version
		c.each(r, 0, c.broken)
		return
	}
	got := r
	if as, gone := c.lost.kept(r, skew); !gone {
		c.wasCommitted(r)
	} else if !c.stands(r) {
		counts := *r
		counts.Version = as
		r, read, written = &counts, 0, 0
	}
	c.claims(r)
	if r.Flags&Stale == 0 {
		if r.Bound > 0 {
			c.atLeast(C1, r, r.Invoke-int64(r.Bound)-skew)
		}
		if read > r.Version {
			c.behind(C3, r, read)
		}
		if written > r.Version {
			c.behind(C2, r, written)
		}
	}
	switch {
	case r.Op == Fresh:
		c.atLeast(FreshReads, r, r.Invoke-skew)
	case r.Op == Sweep:
		c.atLeast(C7, r, r.Invoke-skew)
	case r.Op == AtLeast && got.Version < r.Param:
		c.breaks(C4, r, r.Param, 0)
	}
	for i := range c.broken {
		c.broken[i].Read = *got
	}
	c.each(got, time.Duration(c.t.age(r.Version, r.Invoke)), c.broken)
}

// stands reports whether the read returned a state of the database that no promotion has taken back.
func (c *checker) stands(r *Record) bool {
	return c.t.at(r.Version).explains(r.Hash, r.Flags&Absent != 0, r.Return+int64(c.h.Skew))
}

// wasCommitted checks that the value is one that the database has.
func (c *checker) wasCommitted(r *Record) {
	if !c.stands(r) {
		c.breaks(C5, r, 0, 0)
	}
}

// claims checks what the result says about itself.
func (c *checker) claims(r *Record) {
	bounded := r.Bound > 0 && r.Flags&Stale == 0
	took := time.Duration(r.Return - r.Invoke) // the claim counts up to some moment in between
	switch {
	case r.Staleness > 0:
		c.atLeast(C6, r, r.Invoke-int64(r.Staleness)-int64(c.h.Skew))
		if bounded && r.Staleness-took > r.Bound {
			c.breaks(C6, r, 0, 0)
		}
	case bounded && r.Tier != Hidden:
		c.breaks(C6, r, 0, 0)
	}
	claim := r.Staleness
	if claim <= 0 {
		claim = r.Age
	}
	if r.Flags&Stale != 0 && r.Op == ServeStale && claim-took > time.Duration(r.Param) {
		c.breaks(StaleLabel, r, 0, 0)
	}
}

// atLeast checks that a read gave what was known before a time.
func (c *checker) atLeast(g Guarantee, r *Record, before int64) {
	if want := c.t.need(before); r.Version < want {
		c.breaks(g, r, want, time.Duration(before-c.t.at(want).known))
		if g == C1 && r.Flags&Absent == 0 && c.t.deletion(r.Version, want) {
			c.breaks(C5, r, want, 0)
		}
	}
}

// behind is a read that fell behind what its process had seen.
func (c *checker) behind(g Guarantee, r *Record, want uint64) {
	c.breaks(g, r, want, 0)
	if r.Flags&Absent == 0 && c.t.deletion(r.Version, want) {
		c.breaks(C5, r, want, 0)
	}
}

func (c *checker) breaks(g Guarantee, r *Record, want uint64, late time.Duration) {
	c.broken = append(c.broken, Violation{Guarantee: g, Read: *r, Want: want, Late: late})
}
