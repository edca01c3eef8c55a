package coherence

import "testing"

// TestSlot_UnwrittenJournalIsInDoubt plays the interleaving of slot's documentation: a bump has taken its generation and
// not yet written its journal entry, where an old one still stands.
func TestSlot_UnwrittenJournalIsInDoubt(t *testing.T) {
	const mine, other = 1 << 40, 2 << 40
	for round := range 3 { // with an empty journal, and with entries of earlier rounds
		var s slot
		for range round * journalLen {
			s.bump(other)
		}
		from := s.gen.Load()
		s.bump(other)
		if _, ok := s.advance(from, mine); !ok {
			t.Fatal("another key's bump is taken for ours")
		}
		g := s.gen.Add(1) // our key's invalidation, half done
		if _, ok := s.advance(from, mine); ok {
			t.Errorf("round %d: an entry is taken for current although a bump of its key is under way", round)
		}
		s.journal[g%journalLen].Store(journalEntry(g, mine))
		if _, ok := s.advance(from, mine); ok {
			t.Error("our key's bump is not found")
		}
	}
}
