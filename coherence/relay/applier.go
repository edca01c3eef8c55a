package relay

import (
	"context"
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Applier is L2 as the relay sees it; tier.L2 is one.
type Applier interface {
	Keyspace() *l2.Keyspace
	// ApplyMany applies changes without moving any watermark; the worker and Client.Apply do.
	ApplyMany(ctx context.Context, changes []l2.Change) error
	// Watermarks reads the watermark of every bucket; a bucket without one has the zero Watermark.
	Watermarks(ctx context.Context) ([l2.Buckets]l2.Watermark, error)
	// ApplyBatch applies changes to a bucket and moves its watermark from `from` or later to `to`, in one step. If the
	// watermark does not cover from, or its epoch is another, nothing is applied, applied is false and now is what stands.
	ApplyBatch(ctx context.Context, bucket int, changes []l2.Change, from l2.Watermark, to coherence.Position) (now l2.Watermark, applied bool, err error)
	// ResetWatermark sets a new watermark at `to` with a new random epoch, which makes every record of the bucket a miss,
	// if the watermark still is `seen`; now is what stands afterwards.
	ResetWatermark(ctx context.Context, bucket int, seen l2.Watermark, to coherence.Position) (now l2.Watermark, err error)
}
