// Package ablate takes single rules out of the protocol, so that tests can show that something notices: the explorer,
// the history checker, or a test of its own. A rule whose absence goes unnoticed is untested or not needed.
//
// It works only in binaries built with the tag "ablate". In every other one Out is the constant false, and the compiler
// drops what it guards.
package ablate

// Rule is a rule of the protocol. internal/fence/doc.go explains them.
type Rule string

// The rules.
const (
	// The lease and what drops it.
	FillNeedsLease     Rule = "fill-needs-lease"     // a fill is accepted only while its lease stands
	ApplyDropsLease    Rule = "apply-drops-lease"    // a version applied to an absent key drops the lease of a load
	LeaseEndWakes      Rule = "lease-end-wakes"      // the end of a lease wakes who waits for it, not only a fill does
	SetDropsLease      Rule = "set-drops-lease"      // set over a value drops it too
	SetOverValue       Rule = "set-over-value"       // set writes only where there is an older value
	SetSameIncarnation Rule = "set-same-incarnation" // ... of the bucket's incarnation
	WriteIntent        Rule = "write-intent"         // without a Source, a write keeps readers from filling meanwhile
	RestoreUndoubted   Rule = "restore-undoubted"    // a refused write confirms nothing that another may have replaced
	WriteBumpsAfter    Rule = "write-bumps-after"    // an unversioned write invalidates L1 once more after L2

	// The bucket's incarnation and watermark.
	NewIncarnation      Rule = "new-incarnation"       // a bucket that lost its watermark begins one
	FillSameIncarnation Rule = "fill-same-incarnation" // a fill is accepted in the incarnation of its lease alone
	ReadSameIncarnation Rule = "read-same-incarnation" // a record of another incarnation is a miss
	ServerHistory       Rule = "server-history"        // without a relay, another history of the server begins one
	HistoryInSession    Rule = "history-in-session"    // ... and a load believes no record of a later session
	IncarnationSession  Rule = "incarnation-session"   // a new incarnation ends the bucket's Redis session
	BatchFrom           Rule = "batch-from"            // a batch is refused where what came before it is missing
	BatchPart           Rule = "batch-part"            // ... also where that is an earlier piece of one transaction
	BatchInOneStep      Rule = "batch-in-one-step"     // a batch's changes are applied before, or with, its watermark
	SnapshotGuard       Rule = "snapshot-guard"        // a change is settled only when no older transaction is open
	OutboxMark          Rule = "outbox-mark"           // ... nor is a writer between asking for an id and inserting it

	// The relay's rounds.
	RoundBegunFirst   Rule = "round-begun-first"  // the relay reads the source after it has begun the round
	RoundOnce         Rule = "round-once"         // a round is published only over the one that its relay has seen
	RoundToken        Rule = "round-token"        // ... and by the token with which it was begun
	RoundBuckets      Rule = "round-buckets"      // ... and only where the buckets have what it claims
	RoundDigest       Rule = "round-digest"       // ... and of the incarnations that it names, if they are not the last's
	RoundAfterNext    Rule = "round-after-next"   // who sees a round that has begun waits for the one after it
	RoundSession      Rule = "round-session"      // two readings are compared within one Redis session only
	RoundFollows      Rule = "round-follows"      // a round that does not follow the last one begins sessions
	RoundServer       Rule = "round-server"       // a round stands only for buckets of its own server
	RoundHead         Rule = "round-head"         // a round's sample is at its head, not at what is applied
	RoundIncarnations Rule = "round-incarnations" // a round counts for the incarnations that it was published for

	// Positions by the event channel, without a question to the source.
	MarkSecond Rule = "mark-second" // a barrier ends a sample only if its round was begun behind the sample's end
	MarkEpoch  Rule = "mark-epoch"  // ... in the epoch of the leader that answered the end
	MarkRecord Rule = "mark-record" // ... with the record of the round before where the relay had it acknowledged
	MarkWhole  Rule = "mark-whole"  // the end is asked for behind transactions that are open

	// The numbers of events, as barriers say them.
	NumberAhead    Rule = "number-ahead"    // an event's number counts also if it comes before the session's first barrier
	NumberTimeline Rule = "number-timeline" // ... and only for barriers of its own timeline
	NumberGarbled  Rule = "number-garbled"  // before the first barrier, what nobody can decode may be any event

	// ... by questions to the relay.
	AskBefore Rule = "ask-before" // a head answers only what was asked before the round before it was published
	AskNext   Rule = "ask-next"   // ... and that round must be the one right before it
	AskTerm   Rule = "ask-term"   // ... of the same relay

	// The fence.
	Generation              Rule = "generation"                // an invalidation ends entries and loads of its key
	RecentBumps             Rule = "recent-bumps"              // a reader that is behind looks for its key among the bumps
	MinVersion              Rule = "min-version"               // nothing older than what was seen is served or admitted
	ServeBumps              Rule = "serve-bumps"               // serving a newer version evicts an older entry
	RequiredWatermark       Rule = "required-watermark"        // a min version that was forgotten asks L2 to be past it
	RequiredWatermarkSample Rule = "required-watermark-sample" // ... by a sample begun after the version was seen
	WatermarkFirst          Rule = "watermark-first"           // a value of L2 is judged by a watermark read before it

	// Sessions.
	RedisSession          Rule = "redis-session"           // tracking vouches only for entries of the present session
	RedisSessionWatermark Rule = "redis-session-watermark" // a session starts without a watermark
	DialIsSession         Rule = "dial-is-session"         // dialling begins a session, not only the late nil
	NilIsSession          Rule = "nil-is-session"          // FLUSHALL's nil begins one
	EventSession          Rule = "event-session"           // events vouch only for entries of the present session
	SessionBase           Rule = "session-base"            // ... and for L2 values only past the session's first sample
	GapIsSession          Rule = "gap-is-session"          // a sequence number left out begins a session
	WatermarkWithRecord   Rule = "watermark-with-record"   // untracked: a record is judged by the watermark read with it
	UntrackedUnvouched    Rule = "untracked-unvouched"     // untracked: a read of L2 makes Redis vouch for nothing
	AdmitFromTracking     Rule = "admit-from-tracking"     // tracking vouches only for what a GET on T returned

	// A promotion of the source.
	TimelineSession Rule = "timeline-session" // a sample of another timeline ends every session
	TimelineKnown   Rule = "timeline-known"   // ... and events vouch for no load that began before the first sample

	// The bound.
	ClockBeforeSample Rule = "clock-before-sample" // a sample reads the clock before the position
	ClockBeforeLoad   Rule = "clock-before-load"   // an entry's own sample is read before its load
	AsOfBeforeCheck   Rule = "as-of-before-check"  // a bounded read takes the proof before it checks the generation
	ClockOnRead       Rule = "clock-on-read"       // a bounded read reads the real clock
	BarrierPartitions Rule = "barrier-partitions"  // barriers of a relay that knew fewer partitions prove nothing
	FlightStillStands Rule = "flight-still-stands" // a reader joins only a flight that nothing has invalidated
	FreshNeverJoins   Rule = "fresh-never-joins"   // a Fresh read joins no flight that began before it

	// Copying from one prefix to another.
	CopyLeaseFirst  Rule = "copy-lease-first" // the lease of the new place is acquired before the old one proves itself
	CopyProof       Rule = "copy-proof"       // ... and only what is proved from then on is copied
	CopyIncarnation Rule = "copy-incarnation" // a record of another incarnation of the old bucket is not copied
	CopyVersion     Rule = "copy-version"     // the copy has the version of the record
)
