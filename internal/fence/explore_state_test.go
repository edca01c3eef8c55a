package fence

import "github.com/nearcache/nearcache-go/internal/explore"

// This file is the state that the explorer searches. It follows one key, whose versions are 1 to scope.versions;
// version 0 is the key's absence before. The source commits nothing else, so the position of a commit is its version.
// (A promotion of the source is an event too, and has a number: explore_promotion_test.go.) A moment of the fence's
// clock is 1 plus the number of commits acknowledged by then: that a value is no older than the source was at a
// moment is then a statement about versions, whatever the bound.
//
// The numbers of sessions, generations and samples matter only by how they stand to those of now, so that is all a
// state holds. Fields are small numbers, and are packed into few bits (explore_pack_test.go). A field called a
// watermark, a position or a value is kept as n+1, and 0 means that there is none.

// boolean is a bool that packs.
type boolean uint8

const yes boolean = 1

// generation is how the generation of an entry or a snapshot stands to its slot's.
type generation uint8

const (
	generationCurrent generation = iota
	generationBehind             // only other keys have bumped the slot since, and that is remembered
	generationGone               // the key was invalidated, or may have been
)

// session is how the session of an entry or a snapshot stands to its channel's.
type session uint8

const (
	sessionNone    session = iota // none, or an old one that no longer matters
	sessionCurrent                // the present one
	sessionPast                   // an older one; of an entry: and the channel still has its as-of
)

// awaited is a sample that something waits for.
type awaited uint8

const (
	sampleNone    awaited = iota // nothing is waited for
	sampleNext                   // the next one that begins
	sampleRunning                // the one that has begun and not ended
	sampleFound                  // sampleFound+p: it has ended and found position p
)

// phase is where a load is.
type phase uint8

const (
	idle          phase = iota
	asking              // has its snapshot, and will ask Redis
	reading             // has read the watermark; the record is next
	judging             // has L2's answer
	acquiring           // will acquire the lease
	toLoad              // will take a new snapshot and call the Loader
	loading             // the Loader is running
	judgingLoaded       // the Loader has returned
	filling             // was judged; the fill is next
	hitting             // no load: a bounded read of L1 that has its entry and its first look
)

// load is a read that missed L1, with everybody who has joined it; or, in phase hitting, a read that found an entry.
type load struct {
	phase phase
	value uint8 // version+1

	// Its snapshot.
	generation     generation
	redisSession   boolean // it is the present one
	eventSession   session
	sampled        boolean // the source's timeline was known; kept only where it may change
	watermarkKnown boolean
	watermarkAsked boolean
	watermark      uint8
	incarnation    uint8

	// The snapshot of its flight, by which joins are judged.
	flightGeneration   generation
	flightRedisSession boolean
	flightEventSession session
	flightBegan        uint8 // a moment

	// Its lease.
	leaseGranted     boolean
	leaseHeld        boolean // the lease that stands in the primary is this one
	leaseHeldOther   boolean // ... in the other server
	leaseIncarnation uint8

	// What it is for.
	fresh    boolean // goes to the source alone
	atLeast  uint8   // a version
	unusable boolean // L2's record is of an older schema

	// What it must not fall short of.
	servedBefore uint8 // the newest version served to anybody before one of its readers began (C3)
	invalidated  uint8 // the newest version invalidated here since its snapshot (C2)
	toldBefore   uint8 // what had been told when it began; kept where there are histories (C2)
	freshSince   uint8 // the latest moment at which a Fresh reader of it began (C1)

	// In phase hitting: of the entry.
	hitRedisSession session
	hitEventSession session
	hitAsOf         uint8 // a moment
}

// instance is one process: its fence, its L1, its tracking connection and its tail.
type instance struct {
	// The entry of L1.
	entry             uint8 // version+1
	entryGeneration   generation
	entryRedisSession session
	entryEventSession session
	entryOwnAsOf      boolean // its load has an as-of; kept only where there are bounded reads

	// The bucket.
	watermarkKnown    boolean
	watermarkRead     boolean
	watermark         uint8 // the furthest
	incarnation       uint8
	redisAsOf         uint8   // a moment
	redisAsOfOld      boolean // of an older session
	minVersion        uint8
	minVersionSample  awaited // covers it; sampleNone where no min version is forgotten
	requiredWatermark uint8
	awaitedSample     awaited

	// The event channel.
	partitions   uint8
	followed     uint8 // a bit for each partition
	numbered     uint8 // a bit for each partition
	seq          [2]uint8
	barrier      [2]uint8
	baseSample   awaited
	eventAsOf    uint8 // a moment
	eventAsOfOld boolean

	// The samples.
	sampled        [4]uint8 // by position: the moment at which the newest sample that found it began
	sampleState    uint8    // of one under way: 1 begun, 2 answered by the source
	sampleBegun    uint8    // a moment
	samplePosition uint8

	// The rounds: samples that have begun, and end with a round of a number, or a later one.
	ends     [2]uint8      // 0: none
	endsFrom [2]uint8      // the moments at which they began
	round    explore.Round // the last that was read of the bucket's server; kept only where it may go back

	// The tracking connection.
	connected            boolean
	noticed              boolean // that the last connection is lost
	tracked              boolean // Redis remembers the key for it
	pushes               uint8   // pushKey, pushFlush: on their way
	isolated             boolean // it is connected to the old primary
	lateNil              boolean // the nil of the last connection is still to come
	heartbeat            uint8   // under way: 1 of this session, 2 of an older one
	heartbeatWatermark   uint8
	heartbeatIncarnation uint8
	heartbeatRound       explore.Round
	heartbeatBegun       uint8 // a moment

	// The tail, and what the process has done.
	taken  [2]uint8 // the last event taken, by partition
	served uint8    // the newest version served
	wrote  uint8    // an unversioned write of its own that L2 has been told of, and that is not over
	loads  [2]load
}

const (
	pushKey   = 1
	pushFlush = 2
)

// server is a Redis: the key there, and how far the server was told.
type server struct {
	explore.L2
	applied uint8 // the newest version applied here, by anybody; goes back with the data
	history uint8 // of the server; kept where there are histories
}

// term is what a relay knows in its rounds. A relay that was stopped for long goes on with what it knew.
type term struct {
	phase       uint8         // relayIdle, ...
	seen        explore.Round // when it began the round
	head, upto  uint8         // positions+1, as the source answered
	incarnation uint8         // of the bucket, as far as it knows
	server      explore.Round // in a Cluster: of the bucket's server, when it began the round
}

const (
	relayIdle    = 0
	relayRead    = 1 // only without the rule: it has read the source, and begins the round after that
	relayBegun   = 2
	relayApplies = 3
	relayApplied = 4
	relayServer  = 5 // only in a Cluster: it has published the round of the bucket's server
)

// restorable reports whether a write that is refused may confirm the record again.
func (s *server) restorable() bool { return s.Unconfirmed == 1 && s.Intents > 0 }

// world is a state.
type world struct {
	// The source and the relay.
	durable          uint8 // versions
	acknowledged     uint8
	published        uint8
	told             uint8 // the newest version that a primary has acknowledged; kept where there are histories
	incarnations     uint8 // drawn so far
	writing          uint8 // a bit for each writer that has placed an intent, and is not refused
	setAside         uint8 // the writer whose intent has set the value aside
	grownAfter       uint8 // 1+the last version published to the first partition alone; 0: there is one partition
	relayWatermark   uint8 // the relay's own idea of it; kept only when it matters
	relayIncarnation uint8
	relayPiece       uint8 // the version whose transaction it has applied the first piece of
	terms            [2]term
	promoted         uint8         // the event of the source by which a standby became its primary; 0: none
	kept             uint8         // the last event that the standby had
	tokens           uint8         // drawn so far
	root             explore.Round // in a Cluster: the one that ends samples

	// How many faults are still to come.
	failOversLeft uint8
	evictionsLeft uint8
	lossesLeft    uint8 // of connections
	gapsLeft      uint8 // and restarts
	promotions    uint8 // of the source

	primary   server
	other     server // the replica or, after a fail-over, the old primary
	instances [2]instance
}
