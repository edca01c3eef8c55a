// Package fence decides what a near cache may serve. It is the heart of the protocol, and does no I/O.
//
// Four kinds of facts go in: pushes of Redis tracking, version events, watermarks that were read in Redis, and samples
// of the source's position. Loads take a Snapshot before they ask L2 or the source. At the end of a load the fence
// judges its value by the snapshot: whether to serve it, and whether L1 may keep it. An entry of L1 bears a Stamp, and
// each hit checks it.
//
// The guarantees C1 to C7 are numbered in package nearcache. Each rule below has a test that fails without it.
//
// # Words
//
//	version       orders the states of one key. 0: the source has none.
//	position      is a point in the source's commit order; timeline names the unbroken history it belongs to. A source
//	              that lost commits begins a new timeline.
//	bucket        is one part of L2, of 64 or more. Each has a watermark of its own.
//	watermark     is the position up to which all changes were applied to a bucket, and the bucket's incarnation.
//	incarnation   is a random number that a bucket draws when its watermark was lost. Records of another one are misses.
//	barrier       is a message of the relay in a partition: every event up to a position comes before it.
//	generation    is a counter for each slot. It is bumped whenever a key of the slot is invalidated; recent bumps tell
//	              which.
//	session       is a time during which a channel has missed nothing. Tracking has one for each bucket (a Redis
//	              session), the event channel has one for all partitions (an event session).
//	min version   is the newest version of a key that this process has seen.
//	required      watermark: how far L2 must have come to be believed, since a min version was forgotten.
//	round         is one pass of the relay, numbered in Redis: begun, then read from the source, applied, and published.
//	sample        is a moment of the clock, and a position of the source that was read after it: by a later round, or by
//	              a question to the source.
//	as-of         is a moment at which the source held nothing newer than a value. It comes from the newest sample that
//	              a watermark, or the barriers, cover.
//
// And the smaller ones:
//
//	tracking      connection: reads records; Redis pushes the next change of each key that was read on it
//	commands      connection: everything else
//	push          a message of Redis on the tracking connection: these keys changed
//	channel       one of the two ways by which invalidations come: tracking, or events
//	vouch         a channel vouches for an entry while it would bring the entry's invalidation
//	slot          what all keys whose hash falls on it share: one of 4,096 generations
//	snapshot      the state of the fence when a load began
//	stamp         what an entry was admitted under: its generation, sessions, and as-of
//	quarantine    of a bucket: L2 lacks changes that will not be applied; nothing of it is believed until release
//	gate, slack   of a cache with MaxStaleness: whether, and by how much, the channels' as-of is within the bound
//
// # Rules
//
//	generation    A load takes the generation of its key before it asks L2. An entry is served while the generation
//	              stands. An invalidation is one atomic add (C2).
//	recent bumps  A slot remembers the last keys that bumped it, so that invalidations of other keys evict nothing. What
//	              is not remembered counts as the entry's own key (C6).
//	min version   Nothing older than it is served or admitted. When it rises, L1 lets the older entry go (C3).
//	required      watermark: A min version that had to be forgotten makes its bucket require a watermark that covers it:
//	              the event's own position, or the first sample begun after the version was seen (C3).
//	session       When a channel may have missed something, it begins a session. It vouches only for what was loaded in
//	              the present one. An entry for which no live session vouches is passed over (C6). So the loss of one
//	              channel drops nothing for which the other vouches.
//	incarnation   A bucket whose watermark was lost begins a new incarnation, and that ends its session.
//	history       Without a relay, an incarnation is one of the server's history: a promoted replica, or a server that
//	              starts, begins another one before anything of it is believed. A load whose session ends before its
//	              record is judged does not believe the record (C2).
//	watermark     It is read on the tracking connection before the record that it is to cover. It moves in the same
//	              script as the changes that it covers, so a fail-over takes it back together with them.
//	untracked     Where Redis pushes nothing, no Redis session vouches for entries, and a value of L2 is judged by the
//	              watermark that was read in one step with it: a proxy may have turned to another server since any
//	              earlier reading.
//	sample        Everything acknowledged before the sample began lies at or before its position.
//	round         The relay begins a round before it reads the source. So a round that was not begun when an instance
//	              read the last one ends the sample that the instance began before that. Readings are compared within
//	              one session. A round is published only over the one that its relay has seen, by the token with which
//	              it was begun, where the buckets with changes have come as far as it claims, and for the incarnations
//	              that they have. It stands for the watermarks of those incarnations, of buckets that are read on the
//	              connection on which it was read. In a Cluster each server has rounds of its own, and publishing
//	              checks every bucket of the server.
//	as-of         The newest sample that a channel's watermark covers is a moment that all it vouches for is no older
//	              than, if the generation is found standing after the moment was taken (C1). An entry has the as-of of
//	              its own load too.
//	sequence      The relay numbers the events of each partition. A number that is left out begins a session.
//
// # State machines
//
// The session of a bucket. Each arrow into "no watermark" begins a new session: tracking vouches for nothing that was
// loaded before.
//
//	                    a heartbeat or a load
//	+--------------+    reads the watermark    +-----------------+   Forget: Redis named    +------------------+
//	| no watermark |-------------------------->| watermark known |------------------------->| watermark to be  |
//	|              |                           |                 |   another incarnation    | read again       |
//	|              |                           |                 |<-------------------------|                  |
//	+--------------+                           +-----------------+   a load reads it: the   +------------------+
//	  ^    ^    ^                                       |            same incarnation                  |
//	  |    |    |  lost, another connection, flushed;   |                                              |
//	  |    |    +-- another timeline of the source; <---+----------------------------------------------+
//	  |    |        another incarnation is read;
//	  |    |        a heartbeat reads less, or a round that
//	  |    |        does not follow the last
//	  |    |
//	  |    +------- Quarantine ------> [ quarantined: nothing of L2 is believed ] --+
//	  +------------ Release <-------------------------------------------------------+
//
// A partition of the event channel. The channel vouches while every partition is followed.
//
//	+-----------+   EventSession: new session   +-----------+        EventsLost         +------------------+
//	| announced |------------------------------>| followed  |-------------------------->| lost: the channel|
//	+-----------+                               |           |<--------------------------| vouches for      |
//	                                            |           |  EventsResumed: nothing   | nothing          |
//	  a number is left out,                     |           |  missed, same session     |                  |
//	  another timeline: new session        +--->|           |<--------------------------|                  |
//	                                       |    +-----------+  EventSession: new session+------------------+
//	                                       +---------+
//
// The lease of a key in L2. It is a Redis key beside the record, and decides who may fill the record.
//
//	+------+   acquire: granted   +------------------+   fill: the record is born; the lease is gone
//	| none |--------------------->| a reader's lease |-----------------------------------------------> none
//	|      |                      | (renew)          |   apply, set, release, its TTL: a fill that
//	|      |                      |                  |   comes later is refused (lease_lost)
//	|      |                      |                  |-----------------------------------------------> none
//	|      |                      +------------------+
//	|      |                        | place_intent
//	|      |     place_intent       v
//	|      |--------------------->+------------------+   the last resolve_intent, its TTL
//	|      |                      | write intents    |-----------------------------------------------> none
//	+------+                      +------------------+   acquire answers "writing": load, and do not fill
//
// # The interleavings that made the rules
//
// testdata/*.txt plays each of them step by step.
//
//	late fill        A misses and loads version 1; B writes 2 and invalidates; A's fill comes. The invalidation has
//	                 deleted A's lease and bumped A's generation: neither tier takes the value.
//	L1 ahead of L2   The event of version 2 evicts L1; L2 still has 1; a reload would cache it again. The min version is
//	                 2.
//	old replica      Redis fails over to a replica that has not heard of version 2. The connection is new, and so is the
//	                 session; the watermark went back too, so the relay applies 2 again.
//	promoted replica Without a relay, the old primary has acknowledged an invalidation that its replica lacks. The old
//	                 record there is of another history.
//	two servers      The relay applies a change to server A, and publishes its round to B, which took over with all that
//	                 came before. B refuses the round: its bucket is behind. The relay begins again with what B has.
//	another server's The relay applies a change to server A, which fails over to a replica that lacks it. The round on
//	round            server C stands. It says nothing of A's buckets.
//	lost watermark   Redis evicts the watermark and keeps the records. What they missed meanwhile cannot be known: the
//	                 relay begins a new incarnation, and all of them are misses.
//	push overtaken   A reply and the push that voids it come on one connection, in order. But the reply is handed to
//	                 another goroutine. The snapshot was taken before the question was asked.
package fence
