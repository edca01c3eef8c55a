package fence

import "github.com/nearcache/nearcache-go/internal/explore"

// The explorer follows one key, whose versions are 1 to n; version 0 is its absence before. The source commits nothing
// else, so a commit's position is its version. A moment of the fence's clock is the number of commits acknowledged by
// then, plus 1: a proof "no older than the source was at s" is then a statement about versions, whatever Δ is.
//
// Session numbers, generations and snapshots only ever matter by being those of now, so states hold just that.

// How a generation stands to the slot's.
const (
	genCurrent = iota
	genBehind  // the journal shows that only other keys have bumped the slot since
	genGone    // the key was invalidated, or may have been
)

// How a session stands to the channel's.
const (
	sessionNone    = iota // an older one, or none
	sessionCurrent        // this one
	sessionProof          // an older one, of which the channel still knows what it proves; of a snapshot's: an older one, not none
)

// How far the wait for a sample is: "the first sample begun after this" is a number of a sample in the fence.
const (
	refNone    = iota // nothing to wait for
	refNext           // the next one that begins
	refRunning        // the one that has begun and not ended
	refAt             // refAt+p: it found position p
)

// The program counter of a load, see explore_load_test.go.
const (
	pcIdle   = iota
	pcAsk    // has its snapshot, asks T
	pcRead   // T has read the watermark, the record is next
	pcJudge  // has T's answer
	pcLease  // to acquire the lease
	pcToLoad // to take a new snapshot and call the Loader
	pcLoad   // the Loader is running
	pcLoaded // the Loader has returned
	pcFill   // judged; the fill is next
	pcHit    // no load: a bounded read of L1 that has taken its entry and its first look
)

// load is a read that missed L1, with everyone who has joined it; at pcHit a read that has not.
type load struct {
	pc, val uint8 // val: version+1 of what it has, 0: nothing
	// The snapshot.
	gen, rs, ks       uint8
	known, ask        uint8
	mark, incarnation uint8 // its watermark: position+1, incarnation
	// The flight's own snapshot, which joins are judged by; began is a moment.
	fgen, frs, fks, fbegan uint8
	// The lease.
	lease, hold, holdOther uint8 // was granted one; it stands in the primary; in the other server
	leaseIncarnation       uint8
	fresh, atLeast         uint8 // fresh: goes to the source alone
	unusable               uint8 // L2's record is of an older schema
	// What it must not fall short of.
	seen uint8 // newest version served to anybody before one of its readers began (C3)
	hit  uint8 // newest version invalidated here since its snapshot (C2)
	want uint8 // the latest moment at which a Fresh reader of it began
	// Of pcHit: the entry's sessions, and the proof.
	hrs, hks, claim uint8
}

// instance is one process: its fence, its L1, its T and its tail.
type instance struct {
	// L1's entry.
	entry, gen, rs, ks, own uint8 // version+1; own: its load proves it, so that bounded reads take it without a channel; kept only where there are any
	// The bucket.
	known, read, mark, incarnation       uint8 // the furthest watermark: position+1, incarnation
	proof, proofOld                      uint8 // a moment; of an older session
	minVersion, minVersionRef            uint8 // version; refNone: its position is known
	horizon, await                       uint8 // position+1; a ref
	partitions                           uint8
	followed                             uint8 // a bit for each partition
	seq, barrier                         [2]uint8
	numbered                             uint8 // a bit for each partition
	base, kproof, kproofOld              uint8
	sampled                              [4]uint8 // by position: the moment the newest sample that found it began
	sampling, samplingAt, samplePosition uint8    // a sample under way: 1 begun, 2 the source has answered; its moment, its position+1
	// T.
	conn, tracked, pushes, isolated, lateNil uint8
	beating, beatMark, beatIncarnation       uint8 // a heartbeat under way: 1 of this session, 2 of an older one
	// The tail.
	at     [2]uint8 // last event taken, by partition
	served uint8    // newest version served
	wrote  uint8    // an unversioned write of its own that L2 has been told of, and that is not over
	loads  [2]load
}

const (
	pushKey   = 1
	pushFlush = 2
)

// server is a Redis: the key there, and how far it was told.
type server struct {
	explore.L2
	told uint8 // newest version applied here, by anybody; goes back with the data
}

// world is a state.
type world struct {
	durable, acked, published  uint8
	incarnations               uint8 // drawn so far
	fails, evicts, drops, gaps uint8 // budgets: fail-overs, evictions, lost connections, gaps and restarts
	writing                    uint8 // a bit for each writer that has marked
	grown                      uint8 // 1+the last version published to the first partition alone; 0: one partition
	relay, relayIncarnation    uint8 // the relay's own idea of the watermark; kept only when it matters
	l2, other                  server
	ins                        [2]instance
}
