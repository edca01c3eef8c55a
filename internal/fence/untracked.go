package fence

import (
	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// This file has what differs where Redis pushes nothing. There may be a proxy between the client and Redis then: one
// command may be answered by another server than the last one was, and no connection shows it. So there are no Redis
// sessions, and nothing that one load has read counts for another.

// ownWatermark gives the snapshot of a load the watermark that was read together with the record, in one step of one
// server. It reports whether that is all, as it is where Redis pushes nothing. An earlier watermark would not do:
//
//	load 1: reads watermark 7               Redis fails over to a replica that is at 5, behind the proxy
//	load 2: reads a record of before 7, and would judge it by the 7
func (f *Fence) ownWatermark(snap *Snapshot, w l2.Watermark) bool {
	if !f.untracked || ablate.Out(ablate.WatermarkWithRecord) {
		return false
	}
	snap.WatermarkKnown, snap.watermark = true, w
	return true
}

// tracks reports whether Redis tracking vouches for what a load has read in L2. Without it only events bring the next
// change of a key.
func (f *Fence) tracks() bool { return !f.untracked || ablate.Out(ablate.UntrackedUnvouched) }
