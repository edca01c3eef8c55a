// Package nats carries version events through NATS JetStream, over nats.go: a Publisher for the relay, and a Tail that
// every instance follows to evict its L1.
//
// Events and barriers are messages of one stream, on two subjects: the stream gives both one order. So a barrier comes
// after every event that it covers, and needs no offsets as those of Kafka do. Whoever may publish to the subject of
// the events may invalidate, and nothing else. Only the relay needs the right to publish to the subject of the
// barriers.
//
// A third subject is not stored: by it instances ask the relay for the source's position. See PositionSubject.
//
// The stream has one partition. Each instance follows all events of it in any case.
package nats
