package eventstest

import (
	"fmt"

	"github.com/nearcache/nearcache-go/coherence"
)

func partitionsFirst(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.partitions != r.n {
		t.Errorf("%d partitions were announced; the Publisher has %d", f.partitions, r.n)
	}
	// A session of a partition that was not announced is a fault of its own; see sink.called.
}

// inOrder checks that a partition's events came in the order in which they were published, none of them missing.
// An event may come again.
func (r *relay) inOrder(f *follower, p, from int) {
	r.t.Helper()
	seen := make(map[string]bool)
	want := r.published[p][from:]
	for _, e := range f.of(p) {
		if e.kind != delivered || seen[e.event.Key] {
			continue
		}
		if len(seen) == len(want) || e.event.Key != want[len(seen)].key {
			r.t.Errorf("partition %d: event %d is %s, want the order %v", p, len(seen), e.event.Key, want)
			return
		}
		seen[e.event.Key] = true
	}
	if len(seen) != len(want) {
		r.t.Errorf("partition %d: %d events, want %d", p, len(seen), len(want))
	}
}

func eventsInOrder(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	var last []string
	want := make(map[string]coherence.Event)
	for range 5 {
		var batch []coherence.PartitionMessage
		for range 40 {
			for p := range r.n {
				m := r.next(p)
				batch = append(batch, m)
				want[m.Event.Key] = m.Event
			}
		}
		odd := &batch[0].Event
		odd.Op, odd.Trace = coherence.OpDeleted, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		want[odd.Key] = *odd
		r.publish(batch)
		last = r.events()
	}
	f.delivers(last)
	for p := range r.n {
		r.inOrder(f, p, 0)
		for _, e := range f.of(p) {
			w, known := want[e.event.Key]
			if got := e.event; e.kind == delivered && known && (got.Namespace != w.Namespace || got.Version != w.Version ||
				got.Op != w.Op || !got.Time.Equal(w.Time) || got.Trace != w.Trace || got.Position.Timeline != timeline) {
				t.Errorf("got %+v, want %+v", got, w)
			}
		}
		if n := f.count(p, session); n != 1 {
			t.Errorf("partition %d: %d sessions, though nothing happened", p, n)
		}
	}
}

// eventsAfterSession publishes while followers start: from its session on each has everything.
func eventsAfterSession(t T, h Harness) {
	r := newRelay(t, h)
	const followers = 3
	var all [followers]*follower
	for i := range all {
		all[i] = follow(t, h.Events())
		defer all[i].stop()
	}
	began := make([][followers]int, r.n) // the first event that was published after a follower's session
	for p := range began {
		began[p] = [followers]int{-1, -1, -1}
	}
	eventually(t, "all have begun", func() bool {
		whole := true
		for p := range began {
			for i, f := range all {
				if began[p][i] < 0 && f.count(p, session) > 0 {
					began[p][i] = len(r.published[p])
				}
				whole = whole && began[p][i] >= 0
			}
		}
		r.events()
		return whole
	})
	last := r.events()
	for i, f := range all {
		f.delivers(last)
		for p := range r.n {
			if f.count(p, session) > 1 {
				continue // it says that it may have missed some
			}
			for _, e := range r.published[p][began[p][i]:] {
				if !f.has(p, e.key) {
					t.Errorf("follower %d: %s was published after the session of partition %d, and is missing", i, e.key, p)
				}
			}
		}
	}
}

func eventsWait(t T, h Harness) {
	r := newRelay(t, h)
	f, free := following(t, h, r.n), following(t, h, r.n)
	defer f.stop()
	defer free.stop()
	release := f.hold()
	defer release()
	r.events()
	var last []string
	for range 20 {
		last = r.events()
	}
	free.delivers(last)
	for p := range r.n {
		if n := f.count(p, delivered); n > 0 {
			t.Errorf("partition %d: %d events took effect while the sink waited", p, n)
		}
	}
	release()
	f.delivers(last)
	for p := range r.n {
		r.inOrder(f, p, 0)
	}
}

// eventsRefused: an event that the sink did not take is delivered again, or counts as missed.
func eventsRefused(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	f.delivers(r.events())
	f.mu.Lock()
	f.refuse = 1
	f.mu.Unlock()
	keys := r.events()
	at := -1
	eventually(t, "a delivery is refused", func() bool {
		for p := range r.n {
			if f.count(p, refused) > 0 {
				at = p
			}
		}
		return at >= 0
	})
	eventually(t, fmt.Sprintf("%s is delivered again, or a session of partition %d begins", keys[at], at), func() bool {
		return f.has(at, keys[at]) || f.count(at, session) > 1
	})
	f.delivers(r.events())
}

func followersApart(t T, h Harness) {
	r := newRelay(t, h)
	held := following(t, h, r.n)
	defer held.stop()
	release := held.hold()
	defer release()
	var free []*follower
	for range 3 {
		f := following(t, h, r.n)
		defer f.stop()
		free = append(free, f)
	}
	last := r.events()
	eventually(t, "a delivery is held", held.busy) // only then can it hold up others
	for range 10 {
		last = r.events()
	}
	for _, f := range free {
		f.delivers(last)
		for p := range r.n {
			r.inOrder(f, p, 0)
		}
	}
	release()
	held.delivers(last)
}

// write writes a message as others do, until the channel takes it.
func write(t T, h Harness, p int, value string) {
	t.Helper()
	if h.Write == nil {
		t.Skipf("nobody but the relay may write the channel")
	}
	if err := h.Write(t.Context(), p, []byte(value)); err != nil {
		t.Fatalf("Write: %v", err)
	}
}

func malformedPassed(t T, h Harness) {
	r := newRelay(t, h)
	f := following(t, h, r.n)
	defer f.stop()
	bad := []string{"garbage", "{}", `{"namespace":"a:b","key":"k"}`, `[1]`, ""}
	for _, value := range bad {
		write(t, h, 0, value)
	}
	f.delivers(r.events())
	if n := f.count(0, malformed); n != len(bad) {
		t.Errorf("%d of %d malformed messages were counted", n, len(bad))
	}
	write(t, h, 0, `{"namespace":"n","key":"whole","version":3}`)
	eventually(t, "an event of another writer is delivered", func() bool { return f.has(0, "whole") })
}
