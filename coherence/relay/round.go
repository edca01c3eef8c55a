package relay

import (
	"context"
	"slices"
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
// A round also says up to where each bucket has its changes, on the server that has the round. So the watermarks of
// buckets without changes need not move. Publishing it checks the buckets in the same step:
//
//	relay: applies the change of bucket 3 to server A      server B, which lacks it, takes over
//	relay: publishes the round to B, which refuses: its bucket 3 is behind
//
// Where one server has all buckets, the round is the relay's cursor too, and only buckets with changes are checked. In
// a Cluster each server has a round of its own. The first of them is begun, and ends samples; the others only say what
// their servers have. There the watermarks are the cursor, and publishing checks every one of them against what the
// relay has written: a bucket may have gone to another server and come back without its last changes.
type rounds struct {
	begun   time.Time // when the last one was, by this relay
	head    coherence.Position
	servers []server // the first one has RoundBucket; none: how the buckets are spread is not known
	// refusals are how often in a row a server answered a round with an error, at last then.
	refusals int
	refused  time.Time
	// base is a position up to which the server that had the last round then had every change. Zero: go by the
	// watermarks.
	base    coherence.Position
	changed l2.BucketSet // buckets that have changes after base
}

// server is one server's part of the rounds.
type server struct {
	buckets l2.BucketSet
	leader  int      // the bucket whose key has the rounds
	seen    l2.Round // the last one in Redis, with the token of the next; zero: none
}

// whole reports whether one server has all buckets.
func (r *rounds) whole() bool { return len(r.servers) == 1 && r.spread() }

// spread reports whether the rounds say what each bucket has.
func (r *rounds) spread() bool { return !r.servers[0].buckets.IsZero() }

const (
	// idleMoves is how often the watermarks of buckets without changes move although a round stands for them. If Redis
	// loses the round, the relay goes on from the watermarks, so they must not be so old that their changes were
	// trimmed.
	idleMoves = time.Minute
	// idleMovesSpread is idleMoves in a Cluster with the default number of buckets. There a relay that begins goes on
	// from the watermarks. More buckets move as many watermarks a second, up to idleMoves.
	idleMovesSpread = 10 * time.Second
	// After as many refusals in a row the watermarks of a Cluster are moved instead, for so long. The first ones may
	// come from buckets that move to another server.
	maxRefusals = 3
	spreadAgain = time.Minute
)

func (a *applier) idleEvery() time.Duration {
	switch {
	case !a.rounds.spread():
		return a.Interval
	case a.rounds.whole():
		return max(min(idleMoves, a.Keep/4), a.Interval)
	}
	spread := idleMovesSpread / l2.DefaultBuckets * time.Duration(a.l2.Keyspace().Buckets())
	return max(min(spread, idleMoves, a.Keep/4), a.Interval)
}

// beginRound begins a round, and after that reads the source's position. It reads the watermarks where they may be
// others than the relay knows: at first, when the last round is not the relay's own, and from time to time where
// publishing does not check all of them.
func (a *applier) beginRound(ctx context.Context) error {
	r := &a.rounds
	due := time.Since(a.read) >= rereads*a.Interval
	if !a.loaded || due {
		if err := a.claim(ctx); err != nil {
			return err
		}
	}
	if ablate.Out(ablate.RoundBegunFirst) {
		if err := a.readHead(ctx); err != nil {
			return err
		}
	}
	if err := a.locate(ctx); err != nil {
		return err
	}
	sweep := !a.loaded || due && (r.whole() || !r.spread())
	first := &r.servers[0]
	begun, watermarks, err := a.l2.BeginRound(ctx, sweep && r.whole())
	if err == nil && !sweep && !sameRound(begun, first.seen) {
		sweep = true
		begun, watermarks, err = a.l2.BeginRound(ctx, r.whole())
	}
	if err == nil && sweep && !r.whole() {
		watermarks, err = a.readServers(ctx)
	}
	if err != nil {
		return err
	}
	if !sameRound(begun, first.seen) || !a.loaded {
		r.base = coherence.Position{}
		if r.whole() && begun.Buckets == r.servers[0].buckets {
			r.base = begun.Upto
		}
		a.seen, r.changed = coherence.Position{}, l2.BucketSet{}
	}
	if sweep {
		if !slices.Equal(watermarks, a.watermarks) { // Redis went back, or another relay works too
			a.watermarks, a.seen, r.changed = watermarks, coherence.Position{}, l2.BucketSet{}
		}
		a.loaded = true
	}
	if sweep || due {
		a.read = time.Now()
	}
	first.seen, r.begun = begun, time.Now()
	if ablate.Out(ablate.RoundBegunFirst) {
		return nil
	}
	return a.readHead(ctx)
}

// locate looks up which server has which bucket, when the relay begins and after a round was refused.
//
// A Cluster that refuses to say it, or whose servers do not let a script read watermarks of several slots, gets a round
// that says nothing of the buckets. Then all watermarks are moved and read, at every interval, for a while.
func (a *applier) locate(ctx context.Context) error {
	r := &a.rounds
	lately := time.Since(r.refused) < spreadAgain
	if a.loaded && len(r.servers) > 0 && (r.spread() || lately) {
		return nil
	}
	a.loaded = false
	sets, err := a.l2.Servers(ctx)
	if err != nil && !l2.Answered(err) {
		return err
	}
	if err != nil {
		r.refusals, r.refused = maxRefusals, time.Now()
	}
	r.servers = r.servers[:0]
	if err != nil || len(sets) > 1 && r.refusals >= maxRefusals && lately {
		r.servers = append(r.servers, server{leader: l2.RoundBucket})
		return nil
	}
	for _, set := range sets {
		r.servers = append(r.servers, server{buckets: set, leader: set.First()})
	}
	return nil
}

// readServers reads the watermarks, and the rounds of all servers but the first.
func (a *applier) readServers(ctx context.Context) (ws []l2.Watermark, err error) {
	rounds, err := a.l2.LastRounds(ctx, a.rounds.elsewhere())
	if err != nil {
		return nil, err
	}
	for i := range a.rounds.servers[1:] {
		s := &a.rounds.servers[1+i]
		s.seen = rounds[s.leader]
	}
	return a.l2.Watermarks(ctx)
}

// elsewhere has the leaders of all servers but the first.
func (r *rounds) elsewhere() (set l2.BucketSet) {
	for _, s := range r.servers[1:] {
		set.Add(s.leader)
	}
	return set
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

// publishRound publishes the round that was begun on every server, unless a bucket is not where it was left. A first
// round, that no other came before, was not begun: it proves nothing, and the next one follows at once.
func (a *applier) publishRound(ctx context.Context) (again bool, err error) {
	r := &a.rounds
	if a.seen.IsZero() { // a bucket is behind where it was
		return true, nil
	}
	ps := make([]l2.Publication, len(r.servers))
	for i := range r.servers {
		ps[i] = a.publication(&r.servers[i])
	}
	published, err := a.l2.PublishRounds(ctx, ps)
	if err != nil {
		a.loaded = false
		if l2.Answered(err) {
			r.refusals, r.refused = r.refusals+1, time.Now()
		}
		return false, err
	}
	r.refusals = 0
	for i := range r.servers {
		if !published[i] {
			a.Logger.Info("a round was refused: another relay works too, or Redis went back",
				"round", ps[i].Next.Number, "bucket", ps[i].Leader)
			a.m.refused.Inc()
			a.loaded = false
			continue
		}
		r.servers[i].seen = ps[i].Next
	}
	if !published[0] {
		return false, nil
	}
	if r.changed = (l2.BucketSet{}); r.whole() {
		r.base = ps[0].Next.Upto
	}
	if ps[0].Next.Head.IsZero() {
		r.begun = time.Time{}
		return true, nil
	}
	return false, nil
}

// publication is the next round of a server.
func (a *applier) publication(s *server) l2.Publication {
	r := &a.rounds
	next := l2.Round{Number: s.seen.Number + 1, Upto: a.seen, Buckets: s.buckets}
	if s == &r.servers[0] {
		next.Elsewhere = r.elsewhere()
		if !s.seen.IsZero() {
			next.Head = r.head
		}
	}
	if s.buckets.IsZero() {
		return l2.Publication{Leader: s.leader, Seen: s.seen, Next: next}
	}
	next.Incarnations = a.incarnations(&s.buckets)
	return l2.Publication{Leader: s.leader, Seen: s.seen, Next: next, Needed: a.needed(s, next.Incarnations)}
}

func (a *applier) incarnations(of *l2.BucketSet) uint64 {
	is := make([]l2.Incarnation, 0, of.Len())
	for b := range of.All() {
		is = append(is, a.watermarks[b].Incarnation)
	}
	return l2.DigestOf(is)
}

// needed are the watermarks that the round must find. In a Cluster those are all. Elsewhere buckets without changes
// have what the last round says that they have, in the incarnations of the last round. If the relay knows of others it
// has each checked: one that has begun since has not got the changes before it.
func (a *applier) needed(s *server, incarnations uint64) map[int]l2.Watermark {
	r := &a.rounds
	all := r.base.IsZero() || incarnations != s.seen.Incarnations && !ablate.Out(ablate.RoundDigest)
	needed := make(map[int]l2.Watermark)
	for b := range s.buckets.All() {
		if all || r.changed.Has(b) {
			needed[b] = a.watermarks[b]
		}
	}
	return needed
}
