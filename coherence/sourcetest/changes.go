package sourcetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
)

// wrapper is what a user writes to trace a source.
type wrapper struct{ coherence.Source }

func abilitiesSurvive(t T, h Harness) {
	own, wrapped := reflect.ValueOf(coherence.AbilitiesOf(h.Source)),
		reflect.ValueOf(coherence.AbilitiesOf(wrapper{h.Source}))
	for i := range own.NumField() {
		if own.Field(i).IsNil() != wrapped.Field(i).IsNil() {
			t.Errorf("the source has the methods of a %s, and its Abilities do not return it: a wrapper loses it",
				own.Type().Field(i).Name)
		}
	}
}

func positionCovers(t T, h Harness) {
	last := position(t, h.Source)
	for i := range 10 {
		tx := begin(t, h)
		v := put(t, tx, fmt.Sprint("k", i%3), coherence.OpUpdated)
		if i%4 == 3 {
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatalf("Rollback: %v", err)
			}
			continue
		}
		commit(t, tx)
		p := position(t, h.Source)
		if !p.Covers(last) {
			t.Fatalf("the position went from %v to %v", last, p)
		}
		all, upto := drain(t, h.Source, coherence.Position{}, 100)
		newest := all[len(all)-1]
		if newest.Version != v && !slices.ContainsFunc(all, func(e coherence.Event) bool {
			return e.Version == v &&
				e.Key == fmt.Sprint("k", i%3)
		}) {
			t.Fatalf("version %d was acknowledged, and Changes up to %v has %v", v, upto, changesOf(all))
		}
		if !p.Covers(newest.Position) {
			t.Fatalf("version %d is at %v, and a position read after its commit is %v", newest.Version, newest.Position, p)
		}
		last = p
	}
}

func positionContext(t T, h Harness) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := h.Source.Position(ended); err == nil {
		t.Errorf("Position = %v with a context that has ended, want its error", p)
	}
	if _, _, err := h.Source.Changes(ended, coherence.Position{}, 1); err == nil {
		t.Errorf("Changes answers with a context that has ended, want its error")
	}
}

func changesComplete(t T, h Harness) {
	var want []change
	for i := range 30 {
		key := fmt.Sprint("k", i%7)
		want = append(want, change{key, write(t, h, key, coherence.OpUpdated)})
	}
	_, end := drain(t, h.Source, coherence.Position{}, 100)
	for _, limit := range []int{1, 2, 7, 30, 1000} {
		events, upto := drain(t, h.Source, coherence.Position{}, limit)
		if got := changesOf(events); !slices.Equal(got, want) {
			t.Errorf("with limit %d got %v, want %v", limit, got, want)
		}
		if !upto.Covers(end) {
			t.Errorf("with limit %d read up to %v, before %v", limit, upto, end)
		}
	}
	if events, upto := batch(t, h.Source, end, 10); len(events) > 0 || !upto.Covers(end) {
		t.Errorf("after the last change got %v up to %v, want nothing", changesOf(events), upto)
	}
}

func changesOps(t T, h Harness) {
	ops := []coherence.Op{coherence.OpCreated, coherence.OpUpdated, coherence.OpDeleted, coherence.OpCreated}
	keys := []string{"k", "a b", `back\slash:colon`, "ключ", "'quote'"}
	for _, op := range ops {
		for _, k := range keys {
			write(t, h, k, op)
		}
	}
	events, _ := drain(t, h.Source, coherence.Position{}, 1000)
	if len(events) != len(ops)*len(keys) {
		t.Fatalf("got %d events, want %d", len(events), len(ops)*len(keys))
	}
	for i, e := range events {
		if e.Namespace != ns || e.Key != keys[i%len(keys)] || e.Op != ops[i/len(keys)] || e.Version == 0 {
			t.Errorf("event %d is %s %q %s version %d, want %s %q %s", i, e.Namespace, e.Key, e.Op, e.Version, ns,
				keys[i%len(keys)], ops[i/len(keys)])
		}
	}
}

func changesLimitZero(t T, h Harness) {
	write(t, h, "k", coherence.OpUpdated)
	_, end := drain(t, h.Source, coherence.Position{}, 10)
	for _, after := range []coherence.Position{{}, end} {
		events, upto := batch(t, h.Source, after, 0)
		if len(events) > 0 || !upto.Covers(end) {
			t.Errorf("Changes(%v, 0) = %v, %v, want no events and everything settled, at least %v", after, changesOf(events),
				upto, end)
		}
	}
}

func changesLargeTransaction(t T, h Harness) {
	const rows = 60
	want := []change{{"before", write(t, h, "before", coherence.OpUpdated)}}
	want = append(want, large(t, h, rows)...)
	want = append(want, change{"after", write(t, h, "after", coherence.OpUpdated)})
	for _, limit := range []int{1, 5, rows - 1, rows, rows + 1, 1000} {
		events, _ := drain(t, h.Source, coherence.Position{}, limit)
		if got := changesOf(events); !slices.Equal(got, want) {
			t.Errorf("with limit %d got %v, want %v", limit, got, want)
		}
	}
}

// large commits a transaction of n changes.
func large(t T, h Harness, n int) (changes []change) {
	t.Helper()
	tx := begin(t, h)
	for i := range n {
		key := fmt.Sprintf("k%03d", i)
		changes = append(changes, change{key, put(t, tx, key, coherence.OpCreated)})
	}
	commit(t, tx)
	return changes
}

// changesPieces: whoever begins at the end of any piece, now or after a restart, gets all that comes after it.
func changesPieces(t T, h Harness) {
	large(t, h, 40)
	large(t, h, 3)
	all, end := drain(t, h.Source, coherence.Position{}, 1000)
	want := changesOf(all)
	var ends []coherence.Position
	// The last piece may lead further than before: what else the server does moves its position, too.
	for after := (coherence.Position{}); len(ends) < len(want); {
		events, upto := batch(t, h.Source, after, 1)
		if last := len(ends)+1 == len(want); len(events) != 1 || upto == after || !last && !end.Covers(upto) {
			t.Fatalf("Changes(%v, 1) = %v up to %v, want one change and a position after it", after, changesOf(events), upto)
		}
		ends, after = append(ends, upto), upto
	}
	write(t, h, "later", coherence.OpUpdated)
	sources := []coherence.Source{h.Source}
	if h.Reopen != nil {
		again, err := h.Reopen(t.Context())
		if err != nil {
			t.Fatalf("Reopen: %v", err)
		}
		sources = append(sources, again)
	}
	for _, s := range sources {
		for i, after := range ends {
			events, _ := drain(t, s, after, 7)
			if got := changesOf(events); len(got) != len(want)-i || !slices.Equal(got[:len(got)-1], want[i+1:]) {
				t.Errorf("after change %d, at %v, got %v, want %v and one more", i+1, after, got, want[i+1:])
			}
		}
	}
}

func changesRollback(t T, h Harness) {
	first := write(t, h, "kept", coherence.OpUpdated)
	tx := begin(t, h)
	put(t, tx, "kept", coherence.OpDeleted)
	put(t, tx, "lost", coherence.OpCreated)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatalf("Rollback: %v", err)
	}
	second := write(t, h, "kept", coherence.OpUpdated)
	events, _ := drain(t, h.Source, coherence.Position{}, 10)
	if got, want := changesOf(events), []change{{"kept", first}, {"kept", second}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if second <= first {
		t.Errorf("version %d follows %d", second, first)
	}
}

func changesOpen(t T, h Harness) {
	_, start := drain(t, h.Source, coherence.Position{}, 10)
	early := begin(t, h)
	want := map[change]bool{{"early", put(t, early, "early", coherence.OpUpdated)}: true}
	if !h.OneWriter {
		want[change{"late", write(t, h, "late", coherence.OpUpdated)}] = true
	}
	// Whatever is settled while the transaction is open must not cover its change.
	var settled []coherence.Position
	after, delivered := start, []coherence.Event(nil)
	for _, limit := range []int{0, 1, 10, 0, 10} {
		events, upto := batch(t, h.Source, after, limit)
		delivered, after = append(delivered, events...), upto
		settled = append(settled, upto)
	}
	commit(t, early)
	events, _ := drain(t, h.Source, after, 10)
	for _, e := range append(delivered, events...) {
		if !want[change{e.Key, e.Version}] {
			t.Errorf("%s version %d came twice, or was never written", e.Key, e.Version)
		}
		delete(want, change{e.Key, e.Version})
		for _, p := range settled {
			if e.Key == "early" && p.Covers(e.Position) {
				t.Errorf("%v was settled while the transaction of the change at %v was open", p, e.Position)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("lost: %v", want)
	}
}

func changesConcurrent(t T, h Harness) {
	const writers, each = 6, 15
	var mu sync.Mutex
	committed := map[change]bool{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprint("k", (w+i)%4)
				v, ok := tryWrite(t, h, key, i%5 == 4)
				if ok {
					mu.Lock()
					committed[change{key, v}] = true
					mu.Unlock()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var got []coherence.Event
	var after coherence.Position
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		events, upto := batch(t, h.Source, after, 3)
		got, after = append(got, events...), upto
	}
	rest, _ := drain(t, h.Source, after, 3)
	seen := map[change]bool{}
	for _, c := range changesOf(append(got, rest...)) {
		if seen[c] {
			t.Errorf("%v came twice", c)
		}
		if !committed[c] {
			t.Errorf("%v was never committed", c)
		}
		seen[c] = true
	}
	for c := range committed {
		if !seen[c] {
			t.Errorf("%v was committed and never came", c)
		}
	}
}

// tryWrite commits or rolls back one change; from a goroutine, so that it ends no test.
func tryWrite(t T, h Harness, key string, rollback bool) (coherence.Version, bool) {
	tx, err := h.Begin(t.Context())
	if err != nil {
		t.Errorf("Begin: %v", err)
		return 0, false
	}
	v, err := tx.Write(t.Context(), ns, key, coherence.OpUpdated)
	if err != nil || rollback {
		if err != nil {
			t.Errorf("Write: %v", err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Errorf("Rollback: %v", err)
		}
		return 0, false
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("Commit: %v", err)
		return 0, false
	}
	return v, true
}

func changesTimeline(t T, h Harness) {
	write(t, h, "k", coherence.OpUpdated)
	_, upto := drain(t, h.Source, coherence.Position{}, 10)
	other, beyond := upto, upto
	other.Timeline++
	beyond.N += 1_000_000
	wantTrimmed(t, h.Source, other, "it is of another timeline")
	wantTrimmed(t, h.Source, beyond, "the source has not come so far, so it went back")
}

func newTimeline(t T, h Harness) {
	if h.NewTimeline == nil {
		t.Skipf("the Harness cannot begin a new timeline")
	}
	write(t, h, "k", coherence.OpUpdated)
	before := position(t, h.Source)
	_, upto := drain(t, h.Source, coherence.Position{}, 10)
	if err := h.NewTimeline(t.Context()); err != nil {
		t.Fatalf("NewTimeline: %v", err)
	}
	after := position(t, h.Source)
	if after.Timeline == before.Timeline {
		t.Errorf("the history was replaced, and positions are still of timeline %x", before.Timeline)
	}
	wantTrimmed(t, h.Source, upto, "it is of the timeline before")
	v := write(t, h, "k", coherence.OpUpdated)
	events, now := drain(t, h.Source, coherence.Position{}, 10)
	if !slices.Contains(changesOf(events), change{"k", v}) || now.Timeline != after.Timeline {
		t.Errorf("in the new timeline got %v up to %v, want version %d of k", changesOf(events), now, v)
	}
	if _, _, err := h.Source.Changes(t.Context(), now, 10); err != nil {
		t.Errorf("from the new timeline's own position %v: %v", now, err)
	}
}
