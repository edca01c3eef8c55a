// Package relay carries a source's changes to Redis, to a log like Kafka, or to both.
//
// A Relay reads a coherence.Source, which a database with an outbox is. It applies each change to L2 and moves the
// watermark of its bucket in the same step; so a near cache that has read the watermark knows how far L2 has come. To a
// Publisher it sends each change as a numbered event, and then a barrier in every partition.
//
// Run as many relays of one name as you like: if the Source can elect a leader, one of them works at a time. The two
// channels have cursors of their own and do not wait for each other. The cursor for Redis is the watermarks in Redis
// itself: when Redis goes back in time so does the cursor, and what was lost is applied again.
package relay
