package coherence

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Op is what a change did to its key.
type Op string

// The operations on the wire. An event whose operation is none of these, or absent, counts as OpUpdated: it
// invalidates.
const (
	OpCreated Op = "created"
	OpUpdated Op = "updated"
	OpDeleted Op = "deleted"
	// OpTruncated is for a whole namespace: every key of it may have changed, and the event's key is empty. L2 then begins
	// again in every bucket, whatever the namespace, and each partition of the event channel has a copy of the event. So
	// a Source uses it where it has too many changes to tell of each, as after a truncate. The event's version is that of
	// every key of the namespace; it is above all versions that were handed out before.
	OpTruncated Op = "truncated"
)

// Event says that the state of a key changed. It carries no value: a reader that is affected loads again.
type Event struct {
	Namespace string
	Key       string
	// Version is the state's version. 0: it has none, as events of other systems do; it invalidates
	// unconditionally.
	Version Version
	Op      Op
	// Seq is the relay's sequence number in the event's partition, contiguous from 1. 0: none; gap detection ignores
	// it.
	Seq uint64
	// Position covers the change: a watermark at or past it has this change applied. Zero: unknown.
	Position Position
	// Time is when the change was committed, by the source's clock; for metrics only. Zero: unknown.
	Time time.Time
	// Trace is the traceparent (W3C Trace Context) of the write. On the wire it is a header of the record, and not part
	// of its value. Empty: none.
	Trace string
	// Fields are the columns or JSON fields that a codec of the caller's wants to carry along. The library ignores
	// them.
	Fields map[string]string
}

// Validate returns an error that wraps ErrMalformed if the event's namespace is one that no cache can have.
func (e Event) Validate() error {
	if err := CheckName(e.Namespace); err != nil {
		return fmt.Errorf("%w: namespace %q %w", ErrMalformed, e.Namespace, err)
	}
	return nil
}

// CheckName says why a name cannot be a cache's namespace or a prefix of Redis keys, nil if it can: colons separate the
// parts of a Redis key, and braces mark its hash tag. The error reads after the name, as in `"a:b" contains a colon`.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case strings.ContainsAny(name, ":{}"):
		return errors.New("contains a colon or a brace")
	}
	return nil
}

const maxName = 128

// Barrier says that everything up to Position has been published to its partition, whose last event has number Seq.
type Barrier struct {
	Position Position
	Seq      uint64
	// Partitions is how many partitions the relay publishes to: which one a key's events go to depends on it.
	Partitions int
	// Head, Term and Round are for Publishers, and zero where a Sink takes a Barrier. Head is the source's position
	// (Source.Position), asked for after the barriers of the Round before, of the same Term, had been published: Publish
	// had returned nil. A Term is drawn at random, and its rounds are numbered from 1 on; one whose Publish failed has a
	// number, too. Zero: no such order is known.
	Head        Position
	Term, Round uint64
}

// Message is one message of a partition: an event or a barrier.
type Message struct {
	Event   Event
	Barrier *Barrier // nil: an event
}
