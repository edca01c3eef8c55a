package demo

import (
	"slices"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
)

// TestTap_TakesNoValueForAnInvalidation feeds the bytes of a connection, cut at every place.
func TestTap_TakesNoValueForAnInvalidation(t *testing.T) {
	push := ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$5\r\nb\r\nbb\r\n"
	stream := "+OK\r\n$43\r\n" + push[:43] + "\r\n" + // a value that looks like one
		push + "*2\r\n$1\r\nx\r\n:7\r\n" +
		">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$10\r\ninvalidate\r\n" + // of a subscription
		">2\r\n$10\r\ninvalidate\r\n_\r\n" + "$-1\r\n" + ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nz\r\n"
	for cut := range len(stream) {
		var got []string
		p := &tap{pushed: func(key string) { got = append(got, key) }}
		p.feed([]byte(stream[:cut]))
		p.feed([]byte(stream[cut:]))
		if want := []string{"a", "b\r\nbb", "", "z"}; !slices.Equal(got, want) {
			t.Fatalf("cut after %d bytes: got the keys %q, want %q", cut, got, want)
		}
	}
}

func TestTruth_KnowsWhenAVersionWasReplaced(t *testing.T) {
	tr, zero := newTruth(), time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	tr.committed("a", 3, at(30))
	tr.committed("a", 2, at(20)) // notes can come in either order
	tr.committed("a", 2, at(25)) // the first counts
	for _, c := range []struct {
		version product.Version
		began   int
		want    time.Duration
	}{{3, 100, 0}, {2, 100, 70 * time.Millisecond}, {1, 100, 80 * time.Millisecond}, {2, 25, 0},
		{1, 21, time.Millisecond}} {
		if got := tr.staleness("a", c.version, at(c.began)); got != c.want {
			t.Errorf("version %d, read at %d ms: got %v, want %v", c.version, c.began, got, c.want)
		}
	}
	if got := tr.staleness("b", 1, at(100)); got != 0 {
		t.Errorf("got %v for a product that nobody has changed, want 0", got)
	}
}

func TestJourney_TakesTheRelaysNotesThatComeBeforeTheCommits(t *testing.T) {
	var j journeys
	w := j.begin(product.Product{ID: "a"}, 1)
	j.at("a", 6, stageOutbox, w.began.Add(1*time.Millisecond)) // of the write before
	j.at("a", 7, stageOutbox, w.began.Add(2*time.Millisecond))
	j.at("a", 0, stage{Instance: 1, By: "redis"}, w.began) // a push that cannot be this write's
	j.at("a", 7, stageDatabase, w.began.Add(3*time.Millisecond))
	j.at("a", 7, stageOutbox, w.began.Add(9*time.Millisecond))
	if got, _ := j.latest().time(stageOutbox); got != 2*time.Millisecond {
		t.Errorf("got %v for the outbox, want the first note, after 2ms", got)
	}
	if n := len(j.latest().Arrivals); n != 2 {
		t.Errorf("got %d stages, want the database and the outbox", n)
	}
}

func TestWindow_ForgetsWhatHasPassed(t *testing.T) {
	var w window
	now := time.Unix(1000, 0)
	for range 98 {
		w.add(now, time.Microsecond)
	}
	w.add(now, time.Second)
	w.add(now, time.Second)
	if s := w.summary(now); s.Max != time.Second || s.P99 != time.Second || s.Median > 2*time.Microsecond ||
		s.PerSecond != 50 {
		t.Errorf("got %+v, want the median near a microsecond, the largest of a second, and 50 a second", s)
	}
	if s := w.summary(now.Add(2 * time.Second)); s != (summary{}) {
		t.Errorf("got %+v two seconds later, want nothing", s)
	}
}
