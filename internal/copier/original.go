package copier

import (
	"context"
	"errors"
	"time"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const (
	// patience is how long a batch waits for the old place's proof. A round takes a heartbeat, and two are needed.
	patience = 5 * time.Second
	// beatTimeout bounds one reading of the rounds and watermarks.
	beatTimeout = 2 * time.Second
	// beatEvery is the time from one reading to the next. While nothing waits for a proof, nothing is read.
	beatEvery = 50 * time.Millisecond
)

// original is the place that is copied from. It reads as an instance without an L1 does. It belongs to one goroutine.
type original struct {
	l2    *l2.L2
	fence *fence.Fence
	now   func() int64 // the fence's clock
}

// tracker hears what ends sessions. Nothing is tracked, so no key is pushed.
type tracker struct{ fence *fence.Fence }

func (t tracker) KeysChanged(hashes []uint64) {
	for _, h := range hashes {
		t.fence.Changed(h)
	}
}

func (t tracker) SessionChanged(of l2.BucketSet) {
	for b := range of.All() {
		t.fence.BucketSession(b)
	}
}

func openOriginal(cfg l2.Config) (*original, error) {
	n, err := l2.CheckBuckets(cfg.Buckets)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	now := func() int64 { return int64(time.Since(begun)) + 1 }
	f := fence.New(fence.Config{Now: now, Buckets: n, Complete: true})
	cfg.Tracker = tracker{f}
	store, err := l2.Open(cfg)
	if err != nil {
		return nil, err
	}
	return &original{store, f, now}, nil
}

// prove reads the rounds until they prove a moment of buckets, for as long as a batch may wait. It returns the buckets
// that are not proved by then.
func (o *original) prove(ctx context.Context, of l2.BucketSet, moment int64) (left l2.BucketSet) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		_ = o.beat(ctx) // what was not read proves nothing
		for b := range of.All() {
			if o.asOf(b) >= moment {
				of.Remove(b)
			}
		}
		if of.IsZero() {
			return of
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return of
		}
	}
}

// asOf is the moment that a record of a bucket would be no older than, if it were read now; 0: none.
func (o *original) asOf(bucket int) int64 {
	snap := o.fence.Begin(l2.Key{Bucket: bucket})
	return o.fence.SnapshotAsOf(&snap)
}

// beat reads the relay's rounds, and the watermarks of the buckets that they do not stand for.
func (o *original) beat(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, beatTimeout)
	defer stop()
	all := o.l2.Keyspace().All()
	h := o.fence.BeginHeartbeat()
	rounds, err := o.l2.Rounds(ctx, all)
	for i := range rounds {
		if rounds[i].OK {
			o.fence.Round(&h, rounds[i].Leader, rounds[i].Round)
		}
	}
	left := all.Minus(o.cover(&h, rounds))
	if left.IsZero() {
		return err
	}
	read, e := o.l2.Heartbeat(ctx, left)
	for b, reply := range read {
		if reply.OK {
			o.fence.Watermark(&h, b, reply.Watermark)
		}
	}
	o.cover(&h, rounds)
	return errors.Join(err, e)
}

func (o *original) cover(h *fence.Heartbeat, rounds []l2.RoundReply) (covered l2.BucketSet) {
	for i := range rounds {
		if r := &rounds[i]; r.OK {
			together := o.l2.Together(r.Leader, &r.Round.Buckets)
			covered = covered.Union(o.fence.Cover(h, r.Leader, r.Round, together))
		}
	}
	return covered
}

// found is a record of the old place.
type found struct {
	rec  l2.Record
	left time.Duration // of its TTL, when it was read
	why  Reason        // "": it may be copied
}

// read reads records, and judges them by what was proved before.
func (o *original) read(ctx context.Context, ks []l2.Key, granted int64) []found {
	snaps := make([]fence.Snapshot, len(ks))
	for i, k := range ks {
		snaps[i] = o.fence.Begin(k)
	}
	out := make([]found, len(ks))
	for i, got := range o.l2.GetTimed(ctx, ks) {
		rec, why := decoded(ks[i], got, time.Now())
		if why == "" {
			why = o.judge(&snaps[i], &rec, granted)
		}
		out[i] = found{rec, got.Left, why}
	}
	return out
}

// judge asks the fence: it takes the proof back if the session in which it was read has ended.
func (o *original) judge(snap *fence.Snapshot, rec *l2.Record, granted int64) Reason {
	incarnation := snap.Incarnation()
	var stamp fence.Stamp
	asOf := int64(0)
	if outcome, _ := o.fence.FromL2(snap, rec.Version, &stamp); outcome == fence.Serve {
		asOf = stamp.LoadedAsOf()
	}
	return believed(rec, incarnation, asOf, granted)
}
