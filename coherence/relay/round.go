package relay

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// rounds are the numbered rounds of the relay in Redis. An instance that reads their number knows by a later one that
// the source was read in between, and does not ask the source itself.
//
// A round is begun in Redis, then the source is read, and the changes are applied. Then the round is published, if the
// one before it still is the last, and begun by the same token. So of two relays that work at the same time only one
// publishes a round, and none publishes what it read before the round was begun.
//
// Where one server has all buckets, a round also says up to where every bucket has its changes, on that server. So the
// watermarks of buckets without changes need not move, and the round is the relay's cursor. Publishing it checks the
// buckets with changes in the same step:
//
//	relay: applies the change of bucket 3 to server A      server B, which lacks it, takes over
//	relay: publishes the round to B, which refuses: its bucket 3 is behind
type rounds struct {
	begun time.Time // when the last one was, by this relay
	head  coherence.Position
	seen  l2.Round // the last one in Redis, with the token of the next; zero: none
	whole bool     // one server has all buckets
	// base is a position up to which the server that had `seen` then had every change. Zero: go by the watermarks.
	base    coherence.Position
	changed [l2.Buckets]bool // buckets that have changes after base
}

// idleMoves is how often the watermarks of buckets without changes move although a round stands for them. If Redis
// loses the round, the relay goes on from the watermarks, so they must not be so old that their changes were trimmed.
const idleMoves = time.Minute

func (a *applier) idleEvery() time.Duration {
	if !a.rounds.whole {
		return a.Interval
	}
	return max(min(idleMoves, a.Keep/4), a.Interval)
}

// beginRound begins a round, and after that reads the source's position. It reads the watermarks where they may be
// others than the relay knows: at first, from time to time, and when the last round is not the relay's own.
func (a *applier) beginRound(ctx context.Context) error {
	r := &a.rounds
	sweep := !a.loaded || time.Since(a.read) >= rereads*a.Interval
	if sweep {
		if err := a.claim(ctx); err != nil {
			return err
		}
	}
	if ablate.Out(ablate.RoundBegunFirst) {
		if err := a.readHead(ctx); err != nil {
			return err
		}
	}
	r.whole = a.l2.OneServer()
	begun, watermarks, err := a.l2.BeginRound(ctx, sweep && r.whole)
	if err == nil && !sweep && !sameRound(begun, r.seen) {
		sweep = true
		begun, watermarks, err = a.l2.BeginRound(ctx, r.whole)
	}
	if err == nil && sweep && !r.whole {
		watermarks, err = a.l2.Watermarks(ctx)
	}
	if err != nil {
		return err
	}
	if !sameRound(begun, r.seen) || !a.loaded {
		r.base = coherence.Position{}
		if begun.Whole && r.whole {
			r.base = begun.Upto
		}
		a.seen, r.changed = coherence.Position{}, [l2.Buckets]bool{}
	}
	if sweep {
		if watermarks != a.watermarks { // Redis went back, or another relay works too
			a.watermarks, a.seen, r.changed = watermarks, coherence.Position{}, [l2.Buckets]bool{}
		}
		a.loaded, a.read = true, time.Now()
	}
	r.seen, r.begun = begun, time.Now()
	if ablate.Out(ablate.RoundBegunFirst) {
		return nil
	}
	return a.readHead(ctx)
}

func (a *applier) readHead(ctx context.Context) (err error) {
	a.rounds.head, err = a.Source.Position(ctx)
	return err
}

// sameRound reports whether two readings are of one published round, whether or not the next has begun.
func sameRound(r, s l2.Round) bool {
	r.Token, s.Token = 0, 0
	return r == s
}

// reached is the position up to which every bucket has its changes.
func (a *applier) reached(ctx context.Context) (coherence.Position, error) {
	least, err := a.least(ctx)
	if err != nil || a.rounds.base.IsZero() {
		return least, err
	}
	return a.rounds.base, nil
}

// after is the position from which to ask for changes.
func (a *applier) after(ctx context.Context) (coherence.Position, error) {
	p, err := a.reached(ctx)
	if err == nil && a.seen.Covers(p) {
		p = a.seen
	}
	return p, err
}

// publishRound publishes the round that was begun, unless a bucket is not where it was left. A first round, that no
// other came before, was not begun: it proves nothing, and the next one follows at once.
func (a *applier) publishRound(ctx context.Context) (again bool, err error) {
	r := &a.rounds
	if a.seen.IsZero() { // a bucket is behind where it was
		return true, nil
	}
	next := l2.Round{Number: r.seen.Number + 1, Head: r.head, Upto: a.seen, Whole: r.whole}
	if r.seen.IsZero() {
		next.Head = coherence.Position{}
	}
	needed := map[int]l2.Watermark{}
	if r.whole {
		next.Incarnations = a.incarnations()
		needed = a.needed(next.Incarnations)
	}
	published, err := a.l2.PublishRound(ctx, r.seen, next, needed)
	if err != nil {
		a.loaded = false
		return false, err
	}
	if !published {
		a.Logger.Info("a round was refused: another relay works too, or Redis went back", "round", next.Number)
		a.m.refused.Inc()
		a.loaded = false
		return false, nil
	}
	if r.seen, r.changed = next, [l2.Buckets]bool{}; r.whole {
		r.base = next.Upto
	}
	if next.Head.IsZero() {
		r.begun = time.Time{}
		return true, nil
	}
	return false, nil
}

func (a *applier) incarnations() uint64 {
	var is [l2.Buckets]l2.Incarnation
	for b := range a.watermarks {
		is[b] = a.watermarks[b].Incarnation
	}
	return l2.DigestOf(is[:])
}

// needed are the watermarks that the round must find. Buckets without changes have what the last round says that they
// have, in the incarnations of the last round. If the relay knows of others it has each checked: one that has begun
// since has not got the changes before it.
func (a *applier) needed(incarnations uint64) map[int]l2.Watermark {
	r := &a.rounds
	all := r.base.IsZero() || incarnations != r.seen.Incarnations && !ablate.Out(ablate.RoundDigest)
	needed := make(map[int]l2.Watermark)
	for b := range a.watermarks {
		if all || r.changed[b] {
			needed[b] = a.watermarks[b]
		}
	}
	return needed
}
