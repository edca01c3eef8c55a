package audit

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// State is a key as a tier or the source has it.
type State[V any] struct {
	Seen
	Value V
	Tier  string
	// Loaded is the version that came with Value, if that is less than Version: the Loader is behind, and its value is no
	// state of Version. nil: Value is the one of Version.
	Loaded *coherence.Version
}

// Difference is an inconsistency: a state that was served although the source had another one for Wait or longer.
type Difference struct {
	Key    string
	Tier   string // that served it
	Served Seen
	Source Seen
	Lasted time.Duration // since it was seen; at least Wait. 0: a damaged record, which was not served
	Cause  Cause
	Text   string // what shows the cause, and what to do
	Seen   time.Time
}

// Config is how an Auditor works.
type Config[K comparable, V any] struct {
	// Wait is how long a difference lasts before it is an inconsistency.
	Wait time.Duration
	// Longest is the longest of Scales for which a difference is followed. Defaults to all of them.
	Longest time.Duration
	// Serve is what a reader gets now; ok is false if there is nothing to compare.
	Serve func(ctx context.Context, k K) (s State[V], ok bool, err error)
	// Source reads the source by a question that begins after the call.
	Source func(ctx context.Context, k K) (State[V], error)
	// Same compares values.
	Same func(a, b V) bool
	// Explain finds the cause. served and source are the last ones that were seen; the difference was seen first at a
	// moment.
	Explain func(ctx context.Context, k K, served, source State[V], seen time.Time) (name string, cause Cause, text string)
	// Judged is called for each read that was judged at a scale, Undecided for each that could not be, and Found with
	// each inconsistency. They may be called concurrently. Defaults to none.
	Judged    func(within time.Duration, inconsistent bool)
	Undecided func()
	Found     func(Difference)
}

const (
	mostOpen = 256 // differences that are followed at a time
	mostKept = 16  // differences that a Summary has
	mostNew  = 3   // how often a difference is followed from the start, because the source has changed meanwhile
)

// Auditor judges samples. Make one with New; its methods are safe for concurrent use.
type Auditor[K comparable, V any] struct {
	cfg   Config[K, V]
	tally *tally

	reads, undecided, inconsistent atomic.Uint64

	mu   sync.Mutex
	open map[K]bool // keys whose difference is followed
	kept []Difference
	wg   sync.WaitGroup
}

// New makes an Auditor.
func New[K comparable, V any](cfg Config[K, V]) *Auditor[K, V] {
	return &Auditor[K, V]{cfg: cfg, tally: newTally(cfg.Wait, cfg.Longest), open: make(map[K]bool)}
}

// Full reports whether as many differences are followed as may be. Then no sample should be taken: one that is left out
// because it differs would make the cache look better than it is.
func (a *Auditor[K, V]) Full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.open) >= mostOpen
}

// Check judges one sample: it reads the source, and follows a difference in the background. A key whose difference is
// being followed is left alone.
func (a *Auditor[K, V]) Check(ctx context.Context, k K, served State[V]) {
	a.mu.Lock()
	busy := a.open[k]
	a.mu.Unlock()
	if busy {
		return
	}
	source, err := a.cfg.Source(ctx, k)
	if err != nil {
		a.undecide()
		return
	}
	a.reads.Add(1)
	if a.agree(&served, &source) {
		a.judgeConsistent(0)
		return
	}
	a.mu.Lock()
	if busy = a.open[k] || len(a.open) >= mostOpen; !busy {
		a.open[k] = true
	}
	a.mu.Unlock()
	if busy {
		a.undecide()
		return
	}
	seen := time.Now()
	a.wg.Go(func() {
		a.follow(ctx, k, served, source, seen)
		a.mu.Lock()
		delete(a.open, k)
		a.mu.Unlock()
	})
}

// Close waits for what is under way, which ends when its contexts do.
func (a *Auditor[K, V]) Close() { a.wg.Wait() }

// Damaged reports a record in Redis that no near cache wrote. It was not served, so no scale counts it.
func (a *Auditor[K, V]) Damaged(d Difference) { a.found(d) }

// follow asks the cache again at each scale, until it agrees with what the source had at the beginning.
func (a *Auditor[K, V]) follow(ctx context.Context, k K, served, source State[V], seen time.Time) {
	scales, told, again := a.tally.read(), false, 0
	for i := 0; i < len(scales); i++ {
		if !sleep(ctx, scales[i].Within-time.Since(seen)) {
			a.undecide()
			return
		}
		now, ok, err := a.cfg.Serve(ctx, k)
		switch {
		case err != nil: // the reader gets an error, and no old value
			a.undecide()
			return
		case !ok:
			a.judgeConsistent(i)
			return
		}
		latest := source
		if now.Version > source.Version || now.Version == 0 {
			// Newer than what was seen. It must be what the source has had since.
			if latest, err = a.cfg.Source(ctx, k); err != nil {
				a.undecide()
				return
			}
		}
		differs := !a.agree(&now, &latest) && !(now.Version < latest.Version && now.Version > source.Version)
		switch unversioned := now.Version == 0 && !a.equal(&latest, &source); {
		case !differs:
			a.judgeConsistent(i)
			return
		case unversioned && again < mostNew:
			// Without versions nothing says which of two states is the older one: the source has changed, so what differs
			// from it now is followed from now on.
			source, seen, again, i = latest, time.Now(), again+1, -1
			continue
		case unversioned:
			a.undecide()
			return
		}
		a.judgeInconsistent(i)
		if scales[i].Within >= a.cfg.Wait && !told {
			told = true
			a.tell(ctx, k, now, latest, seen)
		}
	}
}

// tell explains an inconsistency.
func (a *Auditor[K, V]) tell(ctx context.Context, k K, served, source State[V], seen time.Time) {
	name, cause, text := a.cfg.Explain(ctx, k, served, source, seen)
	if ctx.Err() != nil {
		return
	}
	a.found(Difference{Key: name, Tier: served.Tier, Served: served.Seen, Source: source.Seen, Lasted: time.Since(seen),
		Cause: cause, Text: text, Seen: seen})
}

func (a *Auditor[K, V]) found(d Difference) {
	a.inconsistent.Add(1)
	a.mu.Lock()
	// The first are kept: they are nearest to the cause. The latest one shows that it goes on.
	if len(a.kept) == mostKept {
		a.kept = a.kept[:mostKept-1]
	}
	a.kept = append(a.kept, d)
	a.mu.Unlock()
	if a.cfg.Found != nil {
		a.cfg.Found(d)
	}
}

// agree reports whether a served state is the source's, or, read before it, was.
func (a *Auditor[K, V]) agree(served, source *State[V]) bool {
	switch {
	case served.Version > source.Version:
		return false // the source was read later and has less
	case source.Loaded != nil: // its value is an older one
		return served.Version == source.Version
	}
	return a.equal(served, source)
}

func (a *Auditor[K, V]) equal(x, y *State[V]) bool {
	return x.Absent == y.Absent && (x.Absent || a.cfg.Same(x.Value, y.Value))
}

func (a *Auditor[K, V]) judgeConsistent(i int) {
	a.tally.consistent(i)
	if a.cfg.Judged != nil {
		for _, s := range a.tally.read()[i:] {
			a.cfg.Judged(s.Within, false)
		}
	}
}

func (a *Auditor[K, V]) judgeInconsistent(i int) {
	a.tally.inconsistent(i)
	if a.cfg.Judged != nil {
		a.cfg.Judged(a.tally.read()[i].Within, true)
	}
}

func (a *Auditor[K, V]) undecide() {
	a.undecided.Add(1)
	if a.cfg.Undecided != nil {
		a.cfg.Undecided()
	}
}

// Summary is what an Auditor has found so far.
type Summary struct {
	Reads        uint64 // that were compared with the source
	Undecided    uint64 // samples that could not be judged: the source did not answer, or changed too often
	Inconsistent uint64 // differences that lasted
	Scales       []Scale
	Differences  []Difference // the first ones, and the latest
}

// Summary reads the counts.
func (a *Auditor[K, V]) Summary() Summary {
	s := Summary{Reads: a.reads.Load(), Undecided: a.undecided.Load(), Inconsistent: a.inconsistent.Load(),
		Scales: a.tally.read()}
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Differences = slices.Clone(a.kept)
	return s
}

// sleep waits for d, and reports whether ctx lasted so long.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
