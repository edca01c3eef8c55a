package relay_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// TestServers_OneThatIsGoneHoldsUpNoOther: of three servers one does not answer for a minute, whether at once or only
// when the relay gives up. The changes of the others, and their rounds, go on within a moment; its own come when it is
// back, and not before.
func TestServers_OneThatIsGoneHoldsUpNoOther(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		for gone := range 3 {
			t.Run(fmt.Sprintf("server %d, hangs %v", gone, hangs), func(t *testing.T) {
				inServersBubble(t, 1, threeServers(), func(src *outbox, red *redisFake) {
					oneGone(t, src, red, gone, hangs)
				})
			})
		}
	}
}

func oneGone(t *testing.T, src *outbox, red *redisFake, gone int, hangs bool) {
	t.Helper()
	const minute = 60
	of := make([]string, 3)
	for s := range of {
		of[s] = keyIn(t, s+3)
	}
	pass(time.Second)
	red.mu.Lock()
	red.gone, red.hangs = red.servers[gone], hangs
	red.mu.Unlock()
	pass(time.Second)
	var n uint64
	for second := range minute {
		for s := range of {
			src.add(of[s])
			n++
		}
		pass(500 * time.Millisecond)
		now := red.state()
		for s := range of {
			want, got := coherence.Version(second+1), red.version(of[s])
			if s == gone {
				if got >= want {
					t.Fatalf("second %d: a server that is gone has version %d", second, got)
				}
				continue
			}
			if got != want {
				t.Fatalf("second %d: server %d has version %d, want %d", second, s, got, want)
			}
			round := now.elsewhere[s]
			if s == l2.RoundBucket {
				round = now.round
			}
			if !round.Upto.Covers(at(n)) || round.Buckets != red.servers[s] {
				t.Fatalf("second %d: the round of server %d is %+v, want it to cover %d", second, s, round, n)
			}
			if s == l2.RoundBucket && !round.Head.Covers(at(n)) {
				t.Fatalf("second %d: the head is %v", second, round.Head)
			}
		}
		pass(500 * time.Millisecond)
	}
	red.mu.Lock()
	red.gone = l2.BucketSet{}
	red.mu.Unlock()
	pass(2 * time.Second)
	now := red.state()
	if got := red.version(of[gone]); got != minute {
		t.Errorf("the server that is back has version %d of %d", got, minute)
	}
	if now.round.Elsewhere != l2.SetOf(1, 2) {
		t.Errorf("got %v named, want both other servers", now.round.Elsewhere)
	}
	for s, round := range map[int]l2.Round{0: now.round, 1: now.elsewhere[1], 2: now.elsewhere[2]} {
		if round.Buckets != red.servers[s] || !round.Upto.Covers(at(n)) {
			t.Errorf("the round of server %d is %+v, want one of all its buckets", s, round)
		}
	}
}
