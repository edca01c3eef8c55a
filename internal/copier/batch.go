package copier

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

const (
	// batchSize is how many keys are copied at a time. Their leases stand until the old place has proved itself, and
	// readers of the new place wait for them, as they do for another instance's load.
	batchSize = 500
	// chunkSize is how many records are in memory at a time.
	chunkSize = 32
	// leaseTTL is longer than a batch takes. After a copier that was killed, readers wait no longer than that.
	leaseTTL = patience + 5*time.Second
	// lastWords bounds the return of leases after the command was interrupted.
	lastWords = 2 * time.Second
)

// item is one key of a batch.
type item struct {
	from, to l2.Key
	lease    l2.Lease
	why      Reason // "": its lease is held
}

// batch copies some keys. Its steps follow each other: acquire, prove, carry, release.
type batch struct {
	c       *Copier
	items   []item
	granted int64 // a moment at which every lease stood
}

func (c *Copier) newBatch(keys []l2.Key) *batch {
	b := &batch{c: c, items: make([]item, len(keys))}
	for i, k := range keys {
		b.items[i] = item{from: k, to: c.to.Keyspace().Key(k.Namespace, k.Name)}
	}
	return b
}

// run does all steps, and reports whether any key was proved that had to be.
func (b *batch) run(ctx context.Context) (proved bool) {
	if ablate.Out(ablate.CopyLeaseFirst) {
		b.granted = b.c.from.now()
		proved = b.prove(ctx)
		granted := b.granted
		b.acquire(ctx)
		b.granted = granted
	} else {
		b.acquire(ctx)
		proved = b.prove(ctx)
	}
	b.carry(ctx)
	b.release(ctx)
	return proved
}

// acquire asks the new place for leases, and then notes the clock.
func (b *batch) acquire(ctx context.Context) {
	asks := make([]l2.AcquireRequest, len(b.items))
	for i := range b.items {
		asks[i] = l2.AcquireRequest{Key: b.items[i].to} // of schema 0: whatever is there stays
	}
	for i, answer := range b.c.to.AcquireMany(ctx, asks, leaseTTL) {
		it := &b.items[i]
		it.lease = answer.Lease
		switch {
		case answer.Err != nil:
			it.why = Unreachable
		case answer.Lease.Status != l2.Granted:
			it.why = notGranted(answer.Lease.Status)
		case answer.Lease.Incarnation == (l2.Incarnation{}):
			it.why = NoWatermark
		}
	}
	b.granted = b.c.from.now()
}

// prove waits until the old place is known to be no older than the leases.
func (b *batch) prove(ctx context.Context) (proved bool) {
	var of l2.BucketSet
	for i := range b.items {
		if b.items[i].why == "" {
			of.Add(b.items[i].from.Bucket)
		}
	}
	left := b.c.from.prove(ctx, of, b.granted)
	if ablate.Out(ablate.CopyProof) {
		return true
	}
	for i := range b.items {
		if it := &b.items[i]; it.why == "" && left.Has(it.from.Bucket) {
			it.why = Unproved
		}
	}
	return of.IsZero() || left.Len() < of.Len()
}

// carry reads the records of the keys whose leases are held, a chunk at a time, and fills the new place with them.
func (b *batch) carry(ctx context.Context) {
	var chunk []*item
	for i := range b.items {
		if b.items[i].why == "" {
			chunk = append(chunk, &b.items[i])
		}
		if len(chunk) == chunkSize || len(chunk) > 0 && i+1 == len(b.items) {
			b.carryChunk(ctx, chunk)
			chunk = chunk[:0]
		}
	}
}

func (b *batch) carryChunk(ctx context.Context, chunk []*item) {
	keys := make([]l2.Key, len(chunk))
	for i, it := range chunk {
		keys[i] = it.from
	}
	began := time.Now()
	read := b.c.from.read(ctx, keys, b.granted)
	var fills []l2.FillRequest
	var of []*item
	for i, f := range read {
		it, left := chunk[i], f.left-time.Since(began)
		if f.why == "" && left <= 0 {
			f.why = Expired
		}
		if f.why != "" {
			it.why = f.why
			continue
		}
		fills = append(fills, l2.FillRequest{Key: it.to, ID: it.lease.ID, Incarnation: it.lease.Incarnation,
			Record: carried(f.rec), TTL: left})
		of = append(of, it)
	}
	for i, answer := range b.c.to.FillMany(ctx, fills) {
		switch {
		case answer.Err != nil:
			of[i].why = Unreachable
		case answer.Result == l2.TooLarge:
			of[i].why = Corrupt
		case answer.Result != l2.Filled:
			of[i].why = Changed
		default:
			of[i].why = copied
		}
	}
}

// copied stands in item.why for a record that is in the new place now.
const copied Reason = "copied"

// release gives back the leases of keys that were not copied, so that readers who wait for them load.
func (b *batch) release(ctx context.Context) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer stop()
	var held []l2.HeldLease
	for i := range b.items {
		it := &b.items[i]
		if it.lease.Status == l2.Granted && it.why != copied && it.why != Changed {
			held = append(held, l2.HeldLease{Key: it.to, ID: it.lease.ID})
		}
	}
	_ = b.c.to.ReleaseMany(ctx, held) // they end by themselves otherwise
}
