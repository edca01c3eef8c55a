// Package relay carries a source's changes to Redis, to a log like Kafka, or to both.
//
// A Relay reads a coherence.Source, which a database with an outbox is. It applies each change to L2 and moves the
// watermark of its bucket in the same step. At each interval it publishes a numbered round in Redis, which says up to
// where all buckets have their changes, and what the source had come to. So near caches need not ask the source. To a
// Publisher it sends each change as a numbered event, and then a barrier in every partition.
//
// Run as many relays of one name as you like: if the Source can elect a leader, one of them works at a time. The two
// channels have cursors of their own and do not wait for each other. The cursor for Redis is the last round in Redis
// itself: when Redis goes back in time so does the cursor, and what was lost is applied again.
package relay
