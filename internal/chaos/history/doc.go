// Package history records what reads and writes of a near cache saw, and checks it against what the database
// committed.
//
// # What is recorded
//
// Every process streams Records of its own to a file: an operation's invocation and return on the host's monotonic
// clock, which all processes of the host share, and its result. Ground truth comes from the database: a trigger
// writes every committed state (Commit) in the transaction that made it, so a write whose outcome its client never
// learnt is resolved as well.
//
// # What is checked
//
// The versions of a key are 1, 2, 3, ... in commit order. A version is *known* at the earliest time at which the
// write that made it, or of any later version, had been acknowledged to its writer or had been returned by any read;
// need(x) is the newest version known before x.
//
//	C1     a read with a bound Δ that began at t gives need(t-Δ) or newer
//	fresh  a Fresh read that began at t gives need(t) or newer (porcupine looks at a sample besides)
//	C2     after an instance's own Write has returned, no read begun later on it gives an older version
//	C3     a read begun after another one of its key and process had returned gives its version or a newer one
//	C4     a read with AtLeast(v) gives v or newer; it says "not ready" only if v was not known when it began
//	C5     version and value were committed together, by a write invoked before the read returned; and where C1, C2 or
//	       C3 is broken by a value that should have been seen deleted, that is the return of a deleted value
//	C6     a result's claim about itself is true: a value said to be no older than s is need(t-s) or newer; a bounded
//	       read claims something, and not more than its bound
//	stale  a value labelled stale is within the cap that was given, by its proved staleness or, without one, by its
//	       age
//	C7     a sweep, made when faults are healed, writers are paused and both channels prove the bound past the pause,
//	       gives need(t)
//	wait   while Redis and the source answer, no read takes longer than Waiting.Slack; and none ever takes longer than
//	       its caller's deadline and the slack, but for time in which its own process did not run
//
// Whether Redis and the source answer is measured: each instance asks both again and again, by the same links as its
// reads, and records the answers (Ask). A slow answer, a failure, or a gap between two questions explains waiting on
// every instance, because a read may wait for another instance's load. One that was long, a failure, and the death of
// a process go on to explain it for Waiting.Settle: so long the lease of a dead holder stands. A fault that slows
// only connections which carry much (Window.Congested) explains waiting too, because the questions have connections
// of their own.
//
// A commit that counted no version (Commit.Uncounted) is not promised. Reads of the version that stood may return
// it or not. All else holds for them too.
//
// A promotion may lose commits that were acknowledged: Loss says what holds then.
//
// The order of operations of different processes is taken from the clock up to a Skew, so that a violation is one
// even if the clocks' offsets were measured badly.
package history
