package l2

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// RecentFor is how long a client without a relay at least remembers a change that it has sent to Redis.
const RecentFor = time.Minute

// maxRecent bounds the changes that are remembered of each RecentFor.
const maxRecent = 1 << 15

// recent remembers the changes that were sent to Redis lately, to tell them to a server that took over. Until a client
// hears of the promotion it goes on writing to the old primary, which goes on acknowledging; Sentinel alone may take
// several seconds to say so:
//
//	B is promoted, and adopted by a reader, which fills version 1
//	writer: commits 2, and deletes its record on the old primary A; the write is over
//	writer: hears of B, where the record of 1 stands
//
// So when the bucket's incarnation is another one than the changes were told under, they are sent again, in the
// incarnation that the commands connection is seen to have then. Until that is done this process does not believe L2
// there.
//
// A change is remembered before it is sent. So whatever was sent to another server, before the commands connection was
// seen in the new incarnation, is in the log by then.
type recent struct {
	// By bucket.
	seen []atomic.Pointer[Incarnation] // what the tracking connection read last
	told []atomic.Pointer[Incarnation] // where every remembered change was sent to
	some []atomic.Bool                 // changes are remembered

	mu       sync.Mutex
	changes  [2]map[string]Change // by record: those of the present RecentFor, and of the one before
	tooMany  [2]BucketSet         // of which some were not remembered
	turnedAt time.Time
}

func newRecent(buckets int) *recent {
	return &recent{changes: [2]map[string]Change{make(map[string]Change), {}}, turnedAt: time.Now(),
		seen: make([]atomic.Pointer[Incarnation], buckets), told: make([]atomic.Pointer[Incarnation], buckets),
		some: make([]atomic.Bool, buckets)}
}

// note remembers a change that is about to be sent.
func (r *recent) note(ch Change) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(time.Now())
	r.some[ch.Key.Bucket].Store(true)
	old, ok := r.changes[0][ch.Key.Record]
	switch {
	case ok:
		ch = old.and(ch)
	case len(r.changes[0]) >= maxRecent:
		r.tooMany[0].Add(ch.Key.Bucket)
		return
	}
	r.changes[0][ch.Key.Record] = ch
}

// turn forgets what is old. The caller holds r.mu.
func (r *recent) turn(now time.Time) {
	for range r.changes {
		if now.Sub(r.turnedAt) < RecentFor {
			return
		}
		r.turnedAt = r.turnedAt.Add(RecentFor)
		r.changes[1], r.changes[0] = r.changes[0], make(map[string]Change)
		r.tooMany[1], r.tooMany[0] = r.tooMany[0], BucketSet{}
		left := r.tooMany[1]
		for _, ch := range r.changes[1] {
			left.Add(ch.Key.Bucket)
		}
		for b := range r.some {
			r.some[b].Store(left.Has(b))
		}
	}
	if now.Sub(r.turnedAt) >= RecentFor {
		r.turnedAt = now
	}
}

// saw notes the incarnation that the tracking connection has read.
func (r *recent) saw(bucket int, e Incarnation) {
	if old := r.seen[bucket].Load(); old == nil || *old != e {
		r.seen[bucket].Store(&e)
	}
}

// open are those among buckets whose changes were told under another incarnation than was seen last.
func (r *recent) open(of BucketSet) (set BucketSet) {
	for b := range of.All() {
		if seen := r.seen[b].Load(); seen != nil && !r.isTold(b, *seen) {
			set.Add(b)
		}
	}
	return set
}

func (r *recent) isTold(bucket int, e Incarnation) bool {
	told := r.told[bucket].Load()
	return told != nil && *told == e
}

// of are the changes of buckets, and the buckets of which some are not remembered.
func (r *recent) of(buckets BucketSet) (changes []Change, tooMany BucketSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(time.Now())
	for i := range r.changes {
		for _, ch := range r.changes[i] {
			if buckets.Has(ch.Key.Bucket) {
				changes = append(changes, ch)
			}
		}
		tooMany = tooMany.Union(r.tooMany[i].Both(buckets))
	}
	return changes, tooMany
}

// begunAnew forgets that too many changes of buckets were told: no record of before counts any more.
func (r *recent) begunAnew(buckets BucketSet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.tooMany {
		r.tooMany[i] = r.tooMany[i].Minus(buckets)
	}
}

// Telling says where the recent changes of a bucket had been sent at some moment.
type Telling struct {
	none bool         // there was none, or a relay carries them
	in   *Incarnation // nil: nowhere
}

// Telling must be asked for before a record is read that it is to judge:
//
//	read: its GET returns the old record      TellAgain: sends the change, which deletes the record; all is told now
//	reader: believes the old record
func (l *L2) Telling(bucket int) Telling {
	r := l.recent
	if r == nil || !r.some[bucket].Load() {
		return Telling{none: true}
	}
	return Telling{in: r.told[bucket].Load()}
}

// Done reports whether every recent change had been sent in an incarnation. If not, a record of it may be older than a
// write of this process that is over.
func (t Telling) Done(e Incarnation) bool { return t.none || t.in != nil && *t.in == e }

// Untold reports whether TellAgain has something to do in buckets.
func (l *L2) Untold(of BucketSet) bool {
	if l.recent == nil {
		return false
	}
	open := l.recent.open(of)
	return !open.IsZero()
}

// tellAtOnce is how many changes go in one pipeline.
const tellAtOnce = 256

// TellAgain sends the recent changes of each of some buckets again whose incarnation is another one than they were told
// under, once the commands connection is seen to have it. A bucket of which too many changed begins a new incarnation
// instead. After an error it is to be called again; the error is one of those that single buckets had. n is how many
// changes another server had been told of. A change that was sent before its server's incarnation was known is sent
// once more too, and not counted.
func (l *L2) TellAgain(ctx context.Context, of BucketSet) (n int, err error) {
	r := l.recent
	before, at, err := l.arrived(ctx, r.open(of))
	changes, tooMany := r.of(at)
	for part := range slices.Chunk(changes, tellAtOnce) {
		for i, e := range l.tell(ctx, part) {
			if e != nil {
				at.Remove(part[i].Key.Bucket)
				err = firstOf(err, e)
				continue
			}
			if r.told[part[i].Key.Bucket].Load() != nil {
				n++
			}
		}
	}
	lost := tooMany.Both(at)
	for b := range lost.All() {
		w := before[b]
		if _, e := l.ResetWatermark(ctx, b, w, w.Position); e != nil {
			at.Remove(b)
			err = firstOf(err, e)
		}
	}
	r.begunAnew(tooMany.Both(at))
	after, arrived, e := l.arrived(ctx, at)
	for b := range arrived.All() {
		if e := after[b].Incarnation; e == before[b].Incarnation {
			r.told[b].Store(&e)
		}
	}
	return n, firstOf(err, e)
}

// arrived are those among buckets of which the commands connection is in the incarnation that the tracking connection
// has seen, and their watermarks.
func (l *L2) arrived(ctx context.Context, of BucketSet) (found []Watermark, at BucketSet, err error) {
	if of.IsZero() {
		return nil, at, nil
	}
	found, failed, err := l.WatermarksOf(ctx, of)
	read := of.Minus(failed)
	for b := range read.All() {
		if seen := l.recent.seen[b].Load(); seen != nil && *seen == found[b].Incarnation {
			at.Add(b)
		}
	}
	return found, at, err
}

// and is what a change and a later one of the same key come to.
func (c Change) and(later Change) Change {
	switch {
	case c.deletes() || later.deletes():
		c.Version, c.Unconfirmed = 0, false
	default:
		c.Version, c.Unconfirmed = max(c.Version, later.Version), c.Unconfirmed || later.Unconfirmed
	}
	return c
}

// deletes reports whether the change drops whatever there is.
func (c Change) deletes() bool { return c.Version == 0 && !c.Unconfirmed }
