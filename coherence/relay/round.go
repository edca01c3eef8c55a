package relay

import (
	"context"
	"errors"
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
	begun   time.Time // when this relay set about the last one
	head    coherence.Position
	servers []server // the first one has RoundBucket; none: how the buckets are spread is not known
	// refusals are how often in a row a server answered a round with an error, at last then.
	refusals int
	refused  time.Time
	// base is a position up to which the server that had the last round then had every change. Zero: go by the
	// watermarks.
	base    coherence.Position
	changed l2.BucketSet // buckets that have changes after base
	failed  partError    // in this round
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
	case a.parted || !a.rounds.spread():
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
	if a.parted {
		return a.readParted(ctx)
	}
	r, now := &a.rounds, time.Now()
	due := time.Since(a.read) >= rereads*a.Interval
	if !a.loaded || time.Since(a.claimedAt) >= claimEvery {
		if err := a.claimAgain(ctx); err != nil {
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
	ctx, stop := a.patience(ctx)
	defer stop()
	sweep := !a.loaded || due && (r.whole() || !r.spread())
	begun, watermarks, sweep, err := a.begin(ctx, sweep)
	if err != nil {
		return err
	}
	if first := r.first(); first != nil {
		if !sameRound(begun, first.seen) || !a.loaded {
			r.base = coherence.Position{}
			if r.whole() && begun.Buckets == first.buckets {
				r.base = begun.Upto
			}
			a.seen, r.changed = coherence.Position{}, l2.BucketSet{}
		}
		first.seen = begun
	} else if !a.loaded {
		r.base, a.seen, r.changed = coherence.Position{}, coherence.Position{}, l2.BucketSet{}
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
	r.begun = now
	if ablate.Out(ablate.RoundBegunFirst) {
		return nil
	}
	return a.readHead(ctx)
}

// claimAgain claims the prefix. A node that does not answer does not keep a relay from going on whose claim once held.
func (a *applier) claimAgain(ctx context.Context) error {
	home := a.l2.Keyspace().Home()
	if a.claimed && !a.of.Has(home) {
		return nil
	}
	step, stop := a.patience(ctx)
	defer stop()
	err := a.claim(step)
	switch {
	case err == nil:
		a.claimed, a.claimedAt = true, time.Now()
	case a.claimed && errors.Is(err, l2.ErrUnavailable) && ctx.Err() == nil && a.mayPart(l2.SetOf(home)):
		a.exclude(&partError{l2.SetOf(home), err})
		return nil
	}
	return err
}

// begin begins the round on the first server, if that one answers, and reads the watermarks if need be.
func (a *applier) begin(ctx context.Context, sweep bool) (begun l2.Round, ws []l2.Watermark, swept bool,
	err error) {
	r := &a.rounds
	if first := r.first(); first != nil && a.of.Has(l2.RoundBucket) {
		begun, ws, err = a.l2.BeginRound(ctx, sweep && r.whole())
		if err == nil && !sweep && !sameRound(begun, first.seen) {
			sweep = true
			begun, ws, err = a.l2.BeginRound(ctx, r.whole())
		}
		if err != nil {
			return begun, ws, sweep, failedOf(first.buckets.Union(l2.SetOf(l2.RoundBucket)), err)
		}
	}
	if sweep && !r.whole() {
		ws, err = a.readServers(ctx)
	}
	return begun, ws, sweep, err
}

// readParted reads the watermarks of a part.
func (a *applier) readParted(ctx context.Context) error {
	watermarks, _, err := a.l2.WatermarksOf(ctx, a.of)
	if err != nil {
		return err
	}
	if !a.loaded || !slices.Equal(watermarks, a.watermarks) {
		a.watermarks, a.seen = watermarks, coherence.Position{}
	}
	a.loaded, a.rounds.begun = true, time.Now()
	return nil
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
	ws, failed, err := a.l2.WatermarksOf(ctx, a.of)
	if err != nil {
		return ws, failedOf(failed, err)
	}
	for i := range a.rounds.servers {
		s := &a.rounds.servers[i]
		if s.leader == l2.RoundBucket || !a.of.Has(s.leader) {
			continue
		}
		rounds, err := a.l2.LastRounds(ctx, l2.SetOf(s.leader))
		if err != nil {
			return ws, failedOf(s.buckets, err)
		}
		s.seen = rounds[s.leader]
	}
	return ws, nil
}

// elsewhere has the leaders of all servers but the first.
func (r *rounds) elsewhere() (set l2.BucketSet) {
	for _, s := range r.servers {
		if s.leader != l2.RoundBucket {
			set.Add(s.leader)
		}
	}
	return set
}

// first is the server whose rounds are begun, nil if it is not known.
func (r *rounds) first() *server {
	if len(r.servers) > 0 && r.servers[0].leader == l2.RoundBucket {
		return &r.servers[0]
	}
	return nil
}

func (a *applier) readHead(ctx context.Context) (err error) {
	a.rounds.head, err = a.relayRun.readHead(ctx)
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
	outcomes := a.publishTo(ctx)
	answered, first := true, true
	var failed partError
	for i, o := range outcomes {
		s := &r.servers[i]
		switch {
		case o.skipped:
			first = first && i > 0
		case o.err != nil:
			failed.of = failed.of.Union(s.buckets)
			failed.cause = o.err
			answered = answered && l2.Answered(o.err)
		case !o.published:
			a.Logger.Info("a round was refused: another relay works too, or Redis went back",
				"round", o.p.Next.Number, "bucket", o.p.Leader)
			a.m.refused.Inc()
			a.loaded, first = false, first && i > 0
		default:
			s.seen = o.p.Next
		}
	}
	if failed.cause != nil {
		a.loaded = false
		if answered {
			r.refusals, r.refused = r.refusals+1, time.Now()
		}
		return false, &failed
	}
	r.refusals = 0
	if !first {
		return false, nil
	}
	if r.changed = (l2.BucketSet{}); r.whole() {
		r.base = outcomes[0].p.Next.Upto
	}
	if outcomes[0].p.Leader == l2.RoundBucket && outcomes[0].p.Next.Head.IsZero() {
		r.begun = time.Time{}
		return true, nil
	}
	return false, nil
}

// publishing is the outcome of publishing a server's round.
type publishing struct {
	p         l2.Publication
	skipped   bool // the server has no bucket now
	published bool
	err       error
}

// publishTo publishes the round of each server by itself.
func (a *applier) publishTo(ctx context.Context) []publishing {
	r := &a.rounds
	out := make([]publishing, len(r.servers))
	if r.whole() {
		p := a.publication(&r.servers[0])
		done, err := a.l2.PublishRounds(ctx, []l2.Publication{p})
		out[0] = publishing{p: p, published: err == nil && done[0], err: err}
		return out
	}
	type answer struct {
		at        int
		published bool
		err       error
	}
	answers := make(chan answer, len(out))
	ctx, stop := a.patience(ctx)
	defer stop()
	under := 0
	for i := range r.servers {
		s := &r.servers[i]
		some := s.buckets.Both(a.of)
		if some.IsZero() && !s.buckets.IsZero() || !a.of.Has(s.leader) {
			out[i].skipped = true
			continue
		}
		p := a.publication(s)
		out[i].p = p
		out[i].err = l2.ErrUnavailable // until it answers
		under++
		a.parts.Go(func() {
			done, err := a.l2.PublishRounds(ctx, []l2.Publication{p})
			answers <- answer{i, err == nil && done[0], err}
		})
	}
	for ; under > 0; under-- {
		select {
		case o := <-answers:
			out[o.at].published, out[o.at].err = o.published, o.err
		case <-ctx.Done():
			return out
		}
	}
	return out
}

// publication is the next round of a server.
func (a *applier) publication(s *server) l2.Publication {
	r := &a.rounds
	next := l2.Round{Number: s.seen.Number + 1, Upto: a.seen, Buckets: s.buckets.Both(a.of)}
	if s.leader == l2.RoundBucket {
		next.Elsewhere = r.elsewhere()
		if !s.seen.IsZero() {
			next.Head = r.head
		}
	}
	if s.buckets.IsZero() {
		return l2.Publication{Leader: s.leader, Seen: s.seen, Next: next}
	}
	next.Incarnations = a.incarnations(&next.Buckets)
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
	of := s.buckets.Both(a.of)
	for b := range of.All() {
		if all || r.changed.Has(b) {
			needed[b] = a.watermarks[b]
		}
	}
	return needed
}
