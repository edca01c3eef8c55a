package coherence

import (
	"time"
)

// Op is what a change did to its key.
type Op string

// The operations on the wire. An event whose operation is none of these, or absent, counts as OpUpdated: it invalidates.
const (
	OpCreated Op = "created"
	OpUpdated Op = "updated"
	OpDeleted Op = "deleted"
)

// Event says that the state of a key changed. It carries no value: whoever sees it loads again.
type Event struct {
	Namespace string
	Key       string
	// Version is the state's version. 0: the event is somebody else's and has none; it invalidates unconditionally.
	Version Version
	Op      Op
	// Seq is the relay's sequence number in the event's partition, contiguous from 1. 0: none; gap detection ignores it.
	Seq uint64
	// Position covers the change: a watermark at or past it has this change applied. Zero: unknown.
	Position Position
	// Time is when the change was committed, by the source's clock; for metrics only. Zero: unknown.
	Time time.Time
	// Fields are the columns or JSON fields that a codec of the caller's wants to carry along. The library ignores them.
	Fields map[string]string
}

// Marker says that everything up to Position has been published to its partition, whose last event has number Seq.
type Barrier struct {
	Position Position
	Seq      uint64
	// Partitions is how many partitions the relay publishes to: which one a key's events go to depends on it.
	Partitions int
}

// Message is one message of a partition: an event or a marker.
type Message struct {
	Event  Event
	Marker *Barrier // nil: an event
}
