package fence

import "testing"

// TestGenerations_AnUnwrittenBumpIsNotBelieved plays the interleaving of slots' documentation: a bump has taken its
// generation and not yet written its journal entry, where an old one still stands.
func TestGenerations_AnUnwrittenBumpIsNotBelieved(t *testing.T) {
	const mine, other = 1 << 20, 2 << 20
	for round := range 3 { // with an empty journal, and with entries of earlier rounds
		var s generations
		s.init(1, 8)
		for range round * 8 {
			s.bump(other)
		}
		from := s.of(mine)
		s.bump(other)
		if _, ok := s.catchUp(from, mine); !ok {
			t.Fatal("another key's bump is taken for ours")
		}
		g := s.current[0].Add(1) // our key's invalidation, half done
		if _, ok := s.catchUp(from, mine); ok {
			t.Errorf("round %d: an entry is taken for current although a bump of its key is under way", round)
		}
		s.recent.Load().entry(0, g).Store(bumpEntry(g, mine))
		if _, ok := s.catchUp(from, mine); ok {
			t.Error("our key's bump is not found")
		}
	}
}

// TestGenerations_DeepenedWhileBumped: whatever a bump and a deeper journal do to each other, what they leave is
// Collided at worst.
func TestGenerations_DeepenedWhileBumped(t *testing.T) {
	const mine, other = 1 << 20, 2 << 20
	var s generations
	s.init(2, 8)
	from := s.of(mine)
	s.bump(other)
	late := s.recent.Load() // as a bump of our key has loaded it
	s.deepen(64)
	g := s.current[0].Add(1)
	late.entry(0, g).Store(bumpEntry(g, mine))
	if _, ok := s.catchUp(from, mine); ok {
		t.Error("our key's bump is lost with the old journal")
	}
	from = s.of(mine)
	for range 64 {
		s.bump(other)
	}
	if _, ok := s.catchUp(from, mine); !ok {
		t.Error("the deeper journal does not remember what it can")
	}
	s.bump(other)
	if _, ok := s.catchUp(from, mine); ok {
		t.Error("the journal is believed past its end")
	}
	s.deepen(8)
	if depth := s.recent.Load().depth; depth != 64 {
		t.Errorf("the journal became shallower: %d", depth)
	}
}

// TestGenerations_NewRecentBumpsAreNotBelieved, also where a generation's tag is 0, as an entry is that nobody has
// written.
func TestGenerations_NewRecentBumpsAreNotBelieved(t *testing.T) {
	var s generations
	s.init(1, 8)
	s.current[0].Store(1 << tagBits)
	if _, ok := s.catchUp(1<<tagBits-1, 1<<20); ok {
		t.Error("an entry that nobody has written is taken for another key's")
	}
}
