package sourcetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// trimAll trims until nothing at or before upto is left.
func trimAll(t T, h Harness, trimmer coherence.Trimmer, upto coherence.Position) {
	t.Helper()
	eventually(t, "everything that was passed is trimmed", func() bool {
		if _, err := trimmer.Trim(t.Context(), upto, 0); err != nil {
			t.Fatalf("Trim: %v", err)
		}
		events, _ := batch(t, h.Source, coherence.Position{}, 1)
		return len(events) == 0 || !upto.Covers(events[0].Position)
	})
}

func trimmerOf(t T, h Harness) coherence.Trimmer {
	trimmer := coherence.AbilitiesOf(h.Source).Trimmer
	if trimmer == nil {
		t.Skipf("the source is no Trimmer")
	}
	return trimmer
}

func trimDrops(t T, h Harness) {
	trimmer := trimmerOf(t, h)
	for i := range 3 {
		write(t, h, fmt.Sprint("k", i), coherence.OpUpdated)
	}
	_, upto := drain(t, h.Source, coherence.Position{}, 10)
	last := change{"last", write(t, h, "last", coherence.OpUpdated)}
	drain(t, h.Source, upto, 10)
	if n, err := trimmer.Trim(t.Context(), upto, time.Hour); n != 0 || err != nil {
		t.Errorf("Trim drops %d changes that are younger than keep (%v)", n, err)
	}
	trimAll(t, h, trimmer, upto)
	events, _ := drain(t, h.Source, upto, 10)
	if got := changesOf(events); !slices.Equal(got, []change{last}) {
		t.Errorf("after the trim got %v, want %v", got, last)
	}
}

func trimRefuses(t T, h Harness) {
	trimmer := trimmerOf(t, h)
	_, start := drain(t, h.Source, coherence.Position{}, 10)
	for range 3 {
		write(t, h, "k", coherence.OpUpdated)
	}
	_, upto := drain(t, h.Source, coherence.Position{}, 10)
	before := position(t, h.Source)
	trimAll(t, h, trimmer, upto)
	wantTrimmed(t, h.Source, start, "changes after it were trimmed")
	if _, _, err := h.Source.Changes(t.Context(), upto, 10); err != nil {
		t.Errorf("Changes(%v) = %v, though everything after it is there", upto, err)
	}
	if now := position(t, h.Source); !now.Covers(before) {
		t.Errorf("the trim moved the position from %v to %v", before, now)
	}
}

// trimPieces: of a transaction that is being read in pieces nothing may go, or what was read could not be read again
// from where the transaction began.
func trimPieces(t T, h Harness) {
	trimmer := trimmerOf(t, h)
	write(t, h, "before", coherence.OpUpdated)
	_, start := drain(t, h.Source, coherence.Position{}, 10)
	want := large(t, h, 20)
	drain(t, h.Source, start, 1000)
	_, inside := batch(t, h.Source, start, 7)
	if inside.Part == 0 {
		t.Skipf("the source counts a position for each change")
	}
	trimAll(t, h, trimmer, start)
	if n, err := trimmer.Trim(t.Context(), inside, 0); n != 0 || err != nil {
		t.Errorf("Trim(%v) = %d, %v, want nothing dropped of the transaction that the position lies in", inside, n, err)
	}
	events, _ := drain(t, h.Source, inside, 100)
	if got := changesOf(events); !slices.Equal(got, want[7:]) {
		t.Errorf("after the trim got %v, want %v", got, want[7:])
	}
}

func versionsGrow(t T, h Harness) {
	var last coherence.Version
	for i := range 12 {
		op := []coherence.Op{coherence.OpCreated, coherence.OpUpdated, coherence.OpDeleted}[i%3]
		v := write(t, h, "k", op)
		if v <= last {
			t.Fatalf("version %d (%s) follows %d", v, op, last)
		}
		last = v
	}
}

// versionsAfterTrim deletes enough keys that a source which cleans up has a reason to.
func versionsAfterTrim(t T, h Harness) {
	trimmer := trimmerOf(t, h)
	const keys = 1200
	last := map[string]coherence.Version{}
	for _, op := range []coherence.Op{coherence.OpCreated, coherence.OpUpdated, coherence.OpDeleted} {
		tx := begin(t, h)
		for i := range keys {
			key := fmt.Sprintf("k%04d", i)
			last[key] = put(t, tx, key, op)
		}
		commit(t, tx)
	}
	_, upto := drain(t, h.Source, coherence.Position{}, 500)
	for range 3 { // cleaning up may take several calls
		trimAll(t, h, trimmer, upto)
	}
	versioner := coherence.AbilitiesOf(h.Source).Versioner
	tx := begin(t, h)
	for i := 0; i < keys; i += 50 {
		key := fmt.Sprintf("k%04d", i)
		if versioner != nil && !h.OneWriter {
			if v, err := versioner.Version(t.Context(), ns, key); err != nil || v < last[key] {
				t.Errorf("%s was deleted at version %d, and its version is %d (%v)", key, last[key], v, err)
			}
		}
		if v := put(t, tx, key, coherence.OpCreated); v <= last[key] {
			t.Errorf("%s was deleted at version %d and comes back as %d", key, last[key], v)
		}
	}
	commit(t, tx)
}

func versioner(t T, h Harness) {
	v := coherence.AbilitiesOf(h.Source).Versioner
	if v == nil {
		t.Skipf("the source is no Versioner")
	}
	version := func() coherence.Version {
		t.Helper()
		got, err := v.Version(t.Context(), ns, "k")
		if err != nil {
			t.Fatalf("Version: %v", err)
		}
		return got
	}
	never := version()
	for i, op := range []coherence.Op{coherence.OpCreated, coherence.OpUpdated, coherence.OpDeleted} {
		want := write(t, h, "k", op)
		if i == 0 && want <= never {
			t.Errorf("the first version is %d, and before it the key had %d", want, never)
		}
		if got := version(); got != want {
			t.Errorf("Version = %d after the commit of %d", got, want)
		}
	}
	before := version()
	tx := begin(t, h)
	put(t, tx, "k", coherence.OpUpdated)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatalf("Rollback: %v", err)
	}
	if got := version(); got != before {
		t.Errorf("Version = %d after a rollback, want %d as before", got, before)
	}
}

func bumper(t T, h Harness) {
	b := coherence.AbilitiesOf(h.Source).Bumper
	if b == nil {
		t.Skipf("the source is no Bumper")
	}
	var want []change
	for range 3 {
		v, err := b.BumpKey(t.Context(), ns, "tag")
		if err != nil {
			t.Fatalf("BumpKey: %v", err)
		}
		if len(want) > 0 && v <= want[len(want)-1].Version {
			t.Errorf("BumpKey = %d after %d", v, want[len(want)-1].Version)
		}
		want = append(want, change{"tag", v})
	}
	events, _ := drain(t, h.Source, coherence.Position{}, 10)
	if got := changesOf(events); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func cursors(t T, h Harness) {
	c := coherence.AbilitiesOf(h.Source).Cursors
	if c == nil {
		t.Skipf("the source has no Cursors")
	}
	check := func(name string, want coherence.Cursor) {
		t.Helper()
		got, err := c.LoadCursor(t.Context(), name)
		if err != nil || got.Position != want.Position || !slices.Equal(got.Seqs, want.Seqs) {
			t.Errorf("LoadCursor(%q) = %+v, %v, want %+v", name, got, err, want)
		}
	}
	save := func(cur coherence.Cursor) error { return c.SaveCursor(t.Context(), "r", cur) }
	check("r", coherence.Cursor{})
	at := coherence.Cursor{Position: coherence.Position{Timeline: 1<<62 + 5, N: 100, Part: 1 << 40},
		Seqs: []uint64{1, 1 << 60}}
	if err := save(at); err != nil {
		t.Fatalf("SaveCursor: %v", err)
	}
	check("r", at)
	check("other", coherence.Cursor{})
	if err := save(at); err != nil {
		t.Errorf("saving the same cursor again: %v", err)
	}
	back := at
	back.Position.Part--
	if err := save(back); err == nil {
		t.Errorf("a relay that is behind moved the cursor from %v back to %v", at.Position, back.Position)
	}
	back.Position.N, back.Position.Part = at.Position.N-1, 1<<50
	if err := save(back); err == nil {
		t.Errorf("a relay that is behind moved the cursor from %v back to %v", at.Position, back.Position)
	}
	check("r", at)
	at.Position.N, at.Position.Part = at.Position.N+1, 0 // the transaction has ended
	if err := save(at); err != nil {
		t.Errorf("saving a cursor that is further: %v", err)
	}
	check("r", at)
	back.Position.Timeline++ // another timeline begins where it likes
	if err := save(back); err != nil {
		t.Errorf("a cursor of another timeline: %v", err)
	}
	check("r", back)
}

func leaderOf(t T, h Harness) coherence.Leader {
	l := coherence.AbilitiesOf(h.Source).Leader
	if l == nil {
		t.Skipf("the source is no Leader")
	}
	return l
}

// term is a leadership that somebody got.
type term struct {
	leading context.Context
	release func()
	err     error
}

// lead asks for the leadership in a goroutine.
func lead(ctx context.Context, l coherence.Leader, name string) <-chan term {
	got := make(chan term, 1)
	go func() {
		leading, release, err := l.Lead(ctx, name)
		got <- term{leading, release, err}
	}()
	return got
}

func await(t T, got <-chan term, what string) term {
	t.Helper()
	select {
	case l := <-got:
		if l.err != nil {
			t.Fatalf("Lead: %v", l.err)
		}
		return l
	case <-time.After(patience):
		t.Fatalf("not in %v: %s", patience, what)
	}
	return term{}
}

func leaderAlone(t T, h Harness) {
	l := leaderOf(t, h)
	first := await(t, lead(t.Context(), l, "a"), "the first relay leads")
	other := await(t, lead(t.Context(), l, "b"), "a relay of another name leads beside it")
	other.release()
	brief, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	if second := <-lead(brief, l, "a"); second.err == nil {
		second.release()
		t.Errorf("two relays of one name lead")
	}
	if first.leading.Err() != nil {
		t.Errorf("the first relay lost the leadership: %v", context.Cause(first.leading))
	}
	next := lead(t.Context(), l, "a")
	first.release()
	if first.leading.Err() == nil {
		t.Errorf("the leadership goes on after release")
	}
	await(t, next, "the next relay leads after the release").release()
}

func leaderLoss(t T, h Harness) {
	l := leaderOf(t, h)
	if h.Depose == nil {
		t.Skipf("the Harness cannot depose a leader")
	}
	// Nobody else asks for the first loss: a leader must not find the place empty and sit down again.
	lone := await(t, lead(t.Context(), l, "a"), "a relay alone leads")
	depose(t, h, lone)
	lone.release()
	first := await(t, lead(t.Context(), l, "a"), "the first relay leads")
	next := lead(t.Context(), l, "a")
	depose(t, h, first)
	second := await(t, next, "another relay takes over")
	first.release() // late, and of a leadership that another relay has
	third := lead(t.Context(), l, "a")
	select {
	case <-third:
		t.Errorf("the release of a lost leadership took it from the next leader")
	case <-time.After(700 * time.Millisecond):
	}
	second.release()
	await(t, third, "the third relay leads").release()
}

// depose takes the leadership of "a" from its leader and waits until the leader knows.
func depose(t T, h Harness, leader term) {
	t.Helper()
	eventually(t, "the leadership breaks", func() bool { return h.Depose(t.Context(), "a") == nil })
	select {
	case <-leader.leading.Done():
	case <-time.After(patience):
		t.Errorf("the leader does not notice its loss")
	}
}

func waker(t T, h Harness) {
	w := coherence.AbilitiesOf(h.Source).Waker
	if w == nil {
		t.Skipf("the source is no Waker")
	}
	if err := w.Wait(t.Context(), time.Millisecond); err != nil { // the first may only begin to listen
		t.Fatalf("Wait: %v", err)
	}
	begun := time.Now()
	if err := w.Wait(t.Context(), 20*time.Millisecond); err != nil {
		t.Errorf("Wait with nothing to wake it: %v, want nil", err)
	}
	if time.Since(begun) > patience {
		t.Errorf("Wait for 20ms took %v", time.Since(begun))
	}
	woken, long := make(chan error, 1), 10*patience
	go func() { woken <- w.Wait(t.Context(), long) }()
	write(t, h, "k", coherence.OpUpdated)
	select {
	case err := <-woken:
		if err != nil {
			t.Errorf("Wait: %v", err)
		}
	case <-time.After(patience):
		t.Errorf("a commit does not wake")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Wait(ended, patience); err == nil {
		t.Errorf("Wait = nil with a context that has ended, want an error")
	}
}

func checker(t T, h Harness) {
	c := coherence.AbilitiesOf(h.Source).Checker
	if c == nil {
		t.Skipf("the source is no Checker")
	}
	write(t, h, "k", coherence.OpUpdated)
	if found, err := c.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("Check = %+v, %v, want nothing", found, err)
	}
}

func identifier(t T, h Harness) {
	identity := func(s coherence.Source) string {
		t.Helper()
		i := coherence.AbilitiesOf(s).Identifier
		if i == nil {
			t.Skipf("the source is no Identifier")
		}
		name, err := i.Identity(t.Context())
		if err != nil {
			t.Fatalf("Identity: %v", err)
		}
		return name
	}
	name := identity(h.Source)
	if name == "" {
		t.Skipf("the source has no name")
	}
	write(t, h, "k", coherence.OpUpdated)
	if h.NewTimeline != nil {
		if err := h.NewTimeline(t.Context()); err != nil {
			t.Fatalf("NewTimeline: %v", err)
		}
	}
	if now := identity(h.Source); now != name {
		t.Errorf("the source was %q and is %q", name, now)
	}
	if h.Reopen != nil {
		next, err := h.Reopen(t.Context())
		if err != nil {
			t.Fatalf("Reopen: %v", err)
		}
		if now := identity(next); now != name {
			t.Errorf("the source was %q and is %q after a restart", name, now)
		}
	}
	if h.Another != nil {
		other, err := h.Another(t.Context())
		if err != nil {
			t.Fatalf("Another: %v", err)
		}
		if same := identity(other); same == name {
			t.Errorf("two systems are both %q", name)
		}
	}
}

func estimator(t T, h Harness) {
	e := coherence.AbilitiesOf(h.Source).Estimator
	if e == nil {
		t.Skipf("the source is no Estimator")
	}
	const rows = 100
	estimate := func(after coherence.Position, least, most int64) {
		t.Helper()
		b, err := e.EstimateBacklog(t.Context(), after)
		if err != nil || b.Changes < least || b.Changes > most {
			t.Errorf("EstimateBacklog(%v) = %+v, %v, want %d to %d", after, b, err, least, most)
		}
		if b.Oldest.IsZero() != (most == 0) {
			t.Errorf("EstimateBacklog(%v): the oldest is of %v, want a moment where there is a change", after, b.Oldest)
		}
	}
	write(t, h, "before", coherence.OpUpdated)
	_, start := drain(t, h.Source, coherence.Position{}, 1000)
	estimate(start, 0, 0)
	large(t, h, rows)
	estimate(coherence.Position{}, rows/2, 3*rows)
	_, end := drain(t, h.Source, start, 1000)
	estimate(start, rows/2, 2*rows)
	_, inside := batch(t, h.Source, start, rows/2)
	estimate(inside, rows/4, rows)
	estimate(end, 0, 0)
}

func restart(t T, h Harness) {
	if h.Reopen == nil {
		t.Skipf("the Harness cannot reopen the source")
	}
	want := []change{{"k", write(t, h, "k", coherence.OpCreated)}}
	before := position(t, h.Source)
	cursor := coherence.Cursor{Position: before, Seqs: []uint64{7}}
	if c := coherence.AbilitiesOf(h.Source).Cursors; c != nil {
		if err := c.SaveCursor(t.Context(), "r", cursor); err != nil {
			t.Fatalf("SaveCursor: %v", err)
		}
	}
	next, err := h.Reopen(t.Context())
	if err != nil {
		t.Fatalf("Reopen: %v", err)
	}
	if reflect.DeepEqual(next, nil) {
		t.Fatalf("Reopen returned no source")
	}
	if p := position(t, next); !p.Covers(before) {
		t.Errorf("the position is %v after the restart and was %v", p, before)
	}
	want = append(want, change{"k", write(t, h, "k", coherence.OpDeleted)})
	events, _ := drain(t, next, coherence.Position{}, 10)
	if got := changesOf(events); !slices.Equal(got, want) {
		t.Errorf("after the restart got %v, want %v", got, want)
	}
	if c := coherence.AbilitiesOf(next).Cursors; c != nil {
		if got, err := c.LoadCursor(t.Context(), "r"); err != nil || got.Position != before || !slices.Equal(got.Seqs,
			cursor.Seqs) {
			t.Errorf("after the restart the cursor is %+v, %v, want %+v", got, err, cursor)
		}
	}
}
