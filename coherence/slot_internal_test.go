package coherence

import "testing"

// TestSlots_UnwrittenJournalIsInDoubt plays the interleaving of slots' documentation: a bump has taken its generation and
// not yet written its journal entry, where an old one still stands.
func TestSlots_UnwrittenJournalIsInDoubt(t *testing.T) {
	const mine, other = 1 << 40, 2 << 40
	for round := range 3 { // with an empty journal, and with entries of earlier rounds
		s := newSlots(1, 8)
		for range round * 8 {
			s.bump(other)
		}
		from := s.gen(mine)
		s.bump(other)
		if _, ok := s.advance(from, mine); !ok {
			t.Fatal("another key's bump is taken for ours")
		}
		g := s.gens[0].Add(1) // our key's invalidation, half done
		if _, ok := s.advance(from, mine); ok {
			t.Errorf("round %d: an entry is taken for current although a bump of its key is under way", round)
		}
		s.entry(0, g).Store(journalEntry(g, mine))
		if _, ok := s.advance(from, mine); ok {
			t.Error("our key's bump is not found")
		}
	}
}
