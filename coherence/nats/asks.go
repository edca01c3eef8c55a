package nats

import (
	"sync"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// How an instance learns a position of the source from the relay's rounds, and asks the source nothing:
//
//	instance: asks, by a message that is not stored
//	relay: the question arrives; Publish of round n returns nil; asks the source for its head; Publish of round n+1
//	       begins, with that head; answers the question with it
//
// The relay asked for the head after the question had arrived, so the head covers every commit that was acknowledged
// before the instance asked. That is what a barrier's Head says of itself: see coherence.Barrier. No leader's answer
// and no offset is part of it. A question that arrives between the two is answered by a later round:
//
//	relay: asks the source for its head     instance: a commit is acknowledged, and it asks
//	relay: Publish of round n+1 begins, with a head that lacks the commit
//
// Heads of another relay's rounds, which may share the Publisher, say nothing of when they were asked for.

// asks are the questions that wait for a round. The zero value has none.
type asks[Q any] struct {
	waiting []Q    // for a round to be published
	due     []Q    // those that came before round number next-1 of the term was published
	term    uint64 // of the round that is next
	next    uint64
}

// came takes a question that has arrived.
func (a *asks[Q]) came(q Q) { a.waiting = append(a.waiting, q) }

// published notes that Publish of a round has returned nil.
func (a *asks[Q]) published(term, round uint64) {
	a.due = append(a.due, a.waiting...)
	a.waiting, a.term, a.next = nil, term, round+1
}

// answered takes the questions that the head of a round answers, when Publish of the round begins.
func (a *asks[Q]) answered(term, round uint64) (answered []Q) {
	follows := a.next == round || ablate.Out(ablate.AskNext)
	if !follows || a.term != term && !ablate.Out(ablate.AskTerm) {
		return nil
	}
	answered, a.due = a.due, nil
	if ablate.Out(ablate.AskBefore) {
		answered, a.waiting = append(answered, a.waiting...), nil
	}
	return answered
}

// questions are the asks of a Publisher. It is safe for concurrent use.
type questions struct {
	mu   sync.Mutex
	asks asks[string] // the subjects to answer to
}

// most bounds the questions that wait. An instance asks again when it is not answered.
const most = 1 << 16

func (q *questions) came(reply string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.asks.waiting)+len(q.asks.due) >= most {
		q.asks.waiting, q.asks.due = nil, nil // those who ask have given up long since
	}
	q.asks.came(reply)
}

func (q *questions) published(b *coherence.Barrier) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asks.published(b.Term, b.Round)
}

func (q *questions) answered(b *coherence.Barrier) []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asks.answered(b.Term, b.Round)
}
