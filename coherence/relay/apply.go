package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// engine is L2 as the relay uses it.
type engine interface {
	Claim(ctx context.Context, system string) error
	ClaimBuckets(ctx context.Context) error
	Keyspace() *l2.Keyspace
	WatermarksOf(ctx context.Context, of l2.BucketSet) (ws []l2.Watermark, failed l2.BucketSet, err error)
	Servers(ctx context.Context) ([]l2.BucketSet, error)
	LastRounds(ctx context.Context, leaders l2.BucketSet) (map[int]l2.Round, error)
	BeginRound(ctx context.Context, marks bool) (l2.Round, []l2.Watermark, error)
	PublishRounds(ctx context.Context, ps []l2.Publication) (published []bool, err error)
	ApplyBatch(
		ctx context.Context,
		bucket int,
		changes []l2.Change,
		from l2.Watermark,
		to coherence.Position,
	) (now l2.Watermark, applied bool, err error)
	ResetWatermark(
		ctx context.Context,
		bucket int,
		seen l2.Watermark,
		to coherence.Position,
	) (now l2.Watermark, err error)
}

// applier is the relay's way to L2, in one term of leadership. Its cursor is in Redis itself, in the last round or in
// the buckets' watermarks: when Redis goes back in time so does the cursor, and what was lost is applied again.
type applier struct {
	*relayRun
	of         l2.BucketSet // the buckets that it carries changes to
	claimed    bool         // the prefix, in this term
	claimedAt  time.Time    // when it last was
	parted     bool         // it is part of another one, and has no rounds
	parts      sync.WaitGroup
	back       backQueue // what its parts give back
	rounds     rounds
	progress   progress
	loaded     bool
	read       time.Time      // when watermarks were read
	watermarks []l2.Watermark // by bucket
	moved      time.Time      // when the watermarks of buckets without changes were
	// seen is a position up to which each bucket has its own changes. The source need not be asked for them again for
	// the sake of buckets without any, whose watermarks move more rarely. Zero: not known.
	seen  coherence.Position
	asked time.Time // when it was last asked for changes after seen
	// roundTrip is what the fastest script of the last step took: the others waited for each other. Zero: not known.
	roundTrip time.Duration
}

// rereads is how many intervals pass between looks at the watermarks. While the source is idle nothing is written to
// the buckets that could be refused, and one that lost its watermark would not be noticed otherwise.
const rereads = 5

// claimEvery is how often a relay repeats its claim to the prefix: Redis may evict the owner's name.
const claimEvery = 5 * time.Second

// round carries what has changed to L2. At every interval it is a numbered round; what wakes the relay meanwhile is
// carried at once, and counts with the next one.
func (a *applier) round(ctx context.Context) (more bool, err error) {
	term := ctx
	limit := relayTimeout
	if a.parted {
		limit = partTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() { a.partWith(term, &err) }()
	a.takeBack()
	numbered := !a.loaded || a.isDue(a.rounds.begun)
	if numbered {
		if err := a.beginRound(ctx); err != nil {
			a.loaded = false
			return false, err
		}
	}
	after, err := a.after(ctx)
	if err != nil {
		return false, err
	}
	events, upto, err := a.changes(ctx, after, numbered)
	if errors.Is(err, coherence.ErrTrimmed) {
		return true, a.resetAt(ctx, after)
	}
	if err != nil {
		return false, err
	}
	err = a.traced(ctx, "relay.redis", events, func(ctx context.Context) error {
		return a.apply(ctx, a.byBucket(events, upto), upto)
	})
	if err != nil {
		return false, err
	}
	a.m.events.WithLabelValues("redis").Add(float64(len(events)))
	if numbered && !a.parted {
		if again, err := a.publishRound(ctx); again || err != nil {
			return again, err
		}
	}
	if p, err := a.reached(ctx); err == nil {
		if !a.parted {
			a.pass("redis", p)
		}
	}
	more = len(events) >= a.Batch
	a.progress.note(ctx, events, upto, more)
	return more, nil
}

// changes asks the source, unless the position that was read for this round says that there is nothing new.
func (a *applier) changes(ctx context.Context, after coherence.Position, numbered bool) ([]coherence.Event,
	coherence.Position, error) {
	if numbered && !a.parted && after == a.seen && after == a.rounds.head && time.Since(a.asked) < askAgain {
		return nil, after, nil
	}
	asked := time.Now()
	events, upto, err := a.Source.Changes(ctx, after, a.Batch)
	if err == nil {
		a.asked = asked
	}
	if moved := !a.parted && after != a.rounds.head; numbered && (moved || len(events) > 0) {
		a.wakeExcept("redis")
	}
	return a.wellFormed("redis", events), upto, err
}

// work is what a bucket lacks.
type work struct {
	changes   []l2.Change
	truncated bool // a whole namespace may have changed: every record of the bucket is to become a miss
}

// byBucket is what each bucket lacks up to upto: of a key with several changes the last, since it makes the others
// needless. A bucket that is at upto already lacks nothing, also of a transaction that upto lies in.
func (a *applier) byBucket(events []coherence.Event, upto coherence.Position) map[int]*work {
	all := make(map[int]*work)
	of := func(b int) *work {
		if all[b] == nil {
			all[b] = new(work)
		}
		return all[b]
	}
	has := func(b int, e coherence.Event) bool {
		w := a.watermarks[b].Position
		return w.Covers(e.Position) || w.Covers(upto)
	}
	at := make(map[string]int, len(events)) // where a key's change is among those of its bucket
	for _, e := range events {
		if e.Op == coherence.OpTruncated {
			a.Logger.Warn("a namespace was truncated: every bucket of Redis begins a new incarnation",
				"namespace", e.Namespace, "position", e.Position)
			for b := range a.of.All() {
				a.rounds.changed.Add(b)
				if !has(b, e) {
					of(b).truncated = true
				}
			}
			continue
		}
		k := a.l2.Keyspace().Key(e.Namespace, e.Key)
		a.rounds.changed.Add(k.Bucket)
		if !a.of.Has(k.Bucket) || has(k.Bucket, e) {
			continue
		}
		list := &of(k.Bucket).changes
		if i, again := at[k.Record]; again {
			(*list)[i].Version = newer((*list)[i].Version, e.Version)
			continue
		}
		at[k.Record] = len(*list)
		*list = append(*list, l2.Change{Key: k, Version: e.Version})
	}
	return all
}

// newer is the version that makes the other needless. 0 is unconditional.
func newer(v, w coherence.Version) coherence.Version {
	if v == 0 || w == 0 {
		return 0
	}
	return max(v, w)
}

// apply brings each bucket to upto: those with changes at once, the others more rarely. A bucket whose node does not
// answer in time fails by itself.
func (a *applier) apply(ctx context.Context, todo map[int]*work, upto coherence.Position) error {
	all := time.Since(a.moved) >= a.idleEvery()
	if all {
		for b := range a.of.All() {
			if todo[b] == nil && !a.watermarks[b].Position.Covers(upto) {
				todo[b] = new(work)
			}
		}
	}
	type outcome struct {
		bucket  int
		now     l2.Watermark
		applied bool
		took    time.Duration
		err     error
	}
	outcomes := make(chan outcome, len(todo))
	var under l2.BucketSet
	ctx, stop := a.patience(ctx)
	defer stop()
	turns := a.turns()
	for b, what := range todo {
		from := a.watermarks[b]
		under.Add(b)
		turn := turns(b)
		a.parts.Go(func() {
			o := outcome{bucket: b, err: l2.ErrUnavailable}
			select {
			case turn <- struct{}{}:
				begun := time.Now()
				o.now, o.applied, o.err = a.applyTo(ctx, b, from, *what, upto)
				o.took = time.Since(begun)
				<-turn
			case <-ctx.Done():
			}
			outcomes <- o
		})
	}
	replay := false
	var fastest time.Duration
	var failed partError
	for !under.IsZero() {
		select {
		case o := <-outcomes:
			under.Remove(o.bucket)
			if o.err != nil {
				failed.add(o.bucket, o.err)
				continue
			}
			a.watermarks[o.bucket], replay = o.now, replay || !o.applied
			if fastest == 0 || o.took < fastest {
				fastest = o.took
			}
		case <-ctx.Done():
			for b := range under.All() {
				failed.add(b, fmt.Errorf("%w: %w", l2.ErrUnavailable, ctx.Err()))
			}
			under = l2.BucketSet{}
		}
	}
	if fastest > 0 {
		a.roundTrip = fastest
	}
	if !failed.of.IsZero() {
		a.loaded = a.loaded && a.mayPart(failed.of)
		if !a.mayPart(failed.of) {
			return fmt.Errorf("coherence: relay: %w", &failed)
		}
		a.exclude(&failed)
	}
	if all {
		a.moved = time.Now()
	}
	if a.seen = upto; replay {
		// A bucket is behind where it was. So may others be, and the round: all must be read again, of one moment.
		a.seen, a.loaded = coherence.Position{}, a.loaded && !a.rounds.whole()
	}
	return nil
}

// Redis runs all that it has read from one client, up to 32 kB, before it serves another. 64 scripts of eight changes
// take it half a millisecond or more at a time, and eight scripts a fifth of that. So the relay has few scripts before
// a server at once: leastAtOnce, or a share of the server's buckets, for each millisecond of a round trip. The rate
// does not depend on the distance then, and a step does not last longer than its patience. Until a round trip was
// measured it is mostAtOnce.
const (
	leastAtOnce   = 8
	bucketsAtOnce = 16 // a share is one of so many buckets
	mostAtOnce    = 256
)

// atOnce is how many scripts the relay has before a server of so many buckets at once.
func atOnce(buckets int, roundTrip time.Duration) int {
	if roundTrip == 0 {
		return mostAtOnce
	}
	n := max(leastAtOnce, buckets/bucketsAtOnce)
	return min(n*max(1, int(roundTrip/time.Millisecond)), mostAtOnce)
}

// turns returns what hands out the turns of a bucket's server. A server that does not answer keeps its own only.
func (a *applier) turns() func(bucket int) chan struct{} {
	servers := a.rounds.servers
	of := make([]chan struct{}, max(1, len(servers)))
	for i := range of {
		buckets := a.of.Len()
		if len(servers) > 1 {
			buckets = servers[i].buckets.Len()
		}
		of[i] = make(chan struct{}, atOnce(buckets, a.roundTrip))
	}
	return func(bucket int) chan struct{} {
		for i := range servers {
			if servers[i].buckets.Has(bucket) {
				return of[i]
			}
		}
		return of[0]
	}
}

// applyTo writes only its own bucket's watermark, and touches nothing of the applier: it may come to an end late. It is
// not applied if the bucket is not where it was left.
func (a *applier) applyTo(
	ctx context.Context,
	b int,
	from l2.Watermark,
	todo work,
	upto coherence.Position,
) (now l2.Watermark, applied bool, err error) {
	if todo.truncated { // its changes are in what the new incarnation voids
		now, err = a.l2.ResetWatermark(ctx, b, from, upto)
		applied = now.Position == upto && now.Incarnation != from.Incarnation
		a.m.resets.WithLabelValues("redis").Inc()
	} else {
		now, applied, err = a.l2.ApplyBatch(ctx, b, todo.changes, from, upto)
	}
	if err != nil {
		return now, false, err
	}
	if !applied {
		// Redis went back, or another relay reset the bucket: go on from where Redis is.
		a.m.replays.Inc()
		a.Logger.Info("a bucket is replayed", "bucket", b, "from", now.Position, "expected", from.Position)
	}
	return now, applied, nil
}

// least is the position that every bucket has reached. It first resets two kinds of buckets to where the source is now.
//
// A bucket without a watermark, or with one of no position, may hold records of any age. (A client without a source
// leaves such a watermark when it has reset the bucket.) With a new incarnation those records are misses.
//
// A bucket of another timeline of the source is reset if there are buckets of the present one:
//
//	the source fails over            relay: resets bucket 0, and then cannot reach the shard of bucket 5
//	relay: reads on from bucket 0, in the new timeline, which does not show that changes of bucket 5 are gone
func (a *applier) least(ctx context.Context) (p coherence.Position, err error) {
	if a.mixed() {
		otherTimeline := func(w l2.Watermark, head coherence.Position) bool { return w.Position.Timeline != head.Timeline }
		if err := a.resetWhere(ctx, otherTimeline); err != nil {
			return p, err
		}
		if a.mixed() {
			a.loaded = false
			return p, errors.New(
				"coherence: relay: another relay resets buckets, on another timeline of the source",
			)
		}
	}
	for b := range a.of.All() {
		if at := a.watermarks[b].Position; p.IsZero() || p.Covers(at) {
			p = at
		}
	}
	return p, nil
}

// mixed reports whether the buckets' positions cannot be compared.
func (a *applier) mixed() bool {
	var timeline uint64
	for b := range a.of.All() {
		p := a.watermarks[b].Position
		if p.IsZero() || timeline != 0 && p.Timeline != timeline {
			return true
		}
		timeline = p.Timeline
	}
	return false
}

// resetAt resets the buckets that are no further than a position whose changes are gone, and those of another timeline.
func (a *applier) resetAt(ctx context.Context, trimmed coherence.Position) error {
	a.rounds.base, a.seen = coherence.Position{}, coherence.Position{}
	return a.resetWhere(ctx, func(w l2.Watermark, head coherence.Position) bool {
		return w.Position.Timeline != head.Timeline || trimmed.Covers(w.Position)
	})
}

func (a *applier) resetWhere(ctx context.Context, lost func(w l2.Watermark, head coherence.Position) bool) error {
	_, head, err := a.Source.Changes(ctx, coherence.Position{}, 0)
	if err != nil {
		return err
	}
	for b := range a.of.All() {
		if lost(a.watermarks[b], head) {
			if err := a.reset(ctx, b, head); err != nil {
				return err
			}
		}
	}
	return nil
}

// reset keeps the watermark that Redis has afterwards: another relay may have been quicker.
func (a *applier) reset(ctx context.Context, b int, to coherence.Position) error {
	now, err := a.l2.ResetWatermark(ctx, b, a.watermarks[b], to)
	if err != nil {
		a.loaded = false
		var failed partError
		failed.add(b, err)
		return &failed
	}
	a.m.resets.WithLabelValues("redis").Inc()
	a.watermarks[b], a.seen = now, coherence.Position{}
	return nil
}
