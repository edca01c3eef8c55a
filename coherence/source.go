package coherence

import (
	"context"
	"errors"
	"time"
)

// ErrTrimmed is what Source.Changes returns (wrapped) when changes after the given position may no longer be there: it
// is older than the outbox, or of another timeline. The caller starts again at the present position.
var ErrTrimmed = errors.New("coherence: changes after this position are gone")

// Source is a source of truth as the relay and the near cache see it: a commit order and the changes in it. All methods
// are safe for concurrent use.
type Source interface {
	// Position returns a position that covers at least every commit acknowledged before the call began.
	Position(ctx context.Context) (Position, error)
	// Changes returns the changes after the position `after`, at most limit of them, read from one snapshot. upto is how
	// far they lead: every change after `after` and at or before upto is among them.
	//
	// The changes of a key come in commit order. From one position they come in the same order each time. A change that is
	// not settled (its transaction, or an earlier one, is still open) is after upto. upto covers after; with no changes
	// it still moves as the source's commits do.
	//
	// A transaction with more changes than the limit comes in pieces: upto then lies inside it, its Part is not 0, and a
	// call from upto goes on with the next piece. Each piece costs as much as a transaction of its own size.
	//
	// An event's Position is the end of its transaction, so it is at most upto, or beyond upto for the transaction that
	// upto lies in. Seq is 0: the relay numbers events. The zero Position asks from the earliest change that is kept. A
	// limit of 0 asks for no events, but for everything settled as upto.
	Changes(ctx context.Context, after Position, limit int) (events []Event, upto Position, err error)
	// Abilities returns what else the source can do. A source without any returns the zero Abilities. It is part of the
	// interface so that a type that embeds a Source, to trace its calls for example, passes the abilities on.
	Abilities() Abilities
}

// The optional abilities of a Source, which AbilitiesOf finds.
type (
	// Leader elects one relay among many.
	Leader interface {
		// Lead blocks until the caller leads the relays of this name or ctx ends. Relays of different names lead side
		// by side. The returned context ends when leadership is lost; release gives it up and is called once.
		Lead(ctx context.Context, name string) (leading context.Context, release func(), err error)
	}
	// Cursors keeps where a relay was, together with the sequence numbers it had given out: a second relay that
	// republishes from the same cursor gives the same numbers.
	Cursors interface {
		LoadCursor(ctx context.Context, name string) (Cursor, error) // the zero Cursor if there is none
		// SaveCursor refuses to move Position back within a timeline. It keeps all of Position, Part too.
		SaveCursor(ctx context.Context, name string, c Cursor) error
	}
	// Waker shortens the wait for the next poll.
	Waker interface {
		// Wait returns nil when there may be new changes, or after d at the latest.
		Wait(ctx context.Context, d time.Duration) error
	}
	// Trimmer drops changes that every channel has passed.
	Trimmer interface {
		// Trim drops changes at or before upto that are older than keep. Changes then returns ErrTrimmed for positions
		// before what was dropped. It works in bounded steps: when ctx ends after some of them, it returns how much was
		// dropped and no error, and the next call goes on.
		Trim(ctx context.Context, upto Position, keep time.Duration) (dropped int64, err error)
	}
	// Estimator tells how much a relay has before it, for logs and metrics.
	Estimator interface {
		// EstimateBacklog returns what comes after a position. It costs the same however much that is. The zero Position
		// asks about all changes that are kept.
		EstimateBacklog(ctx context.Context, after Position) (Backlog, error)
	}
	// Bumper counts a key's next version in a transaction of its own, for keys that are no rows, such as tags.
	Bumper interface {
		BumpKey(ctx context.Context, namespace, key string) (Version, error)
	}
	// Versioner looks up a key's present version. A key that was never counted has version 0, or the source's floor:
	// the version that the source gives to all keys it has no version of. A key's next version is larger in either
	// case.
	Versioner interface {
		Version(ctx context.Context, namespace, key string) (Version, error)
	}
)

// Backlog is what a relay has before it.
type Backlog struct {
	Changes int64     // about how many; 0: none
	Oldest  time.Time // when the first of them was committed, by the source's clock; zero: there is none
}

// Cursor is how far a relay has published, and the number of the last event in each partition.
type Cursor struct {
	Position Position
	Seqs     []uint64 // by partition; its length pins the number of partitions that the relay publishes to
}

// Publisher is where the relay sends messages: an ordered log of partitions (coherence/kafka has one).
type Publisher interface {
	// Partitions is the number of partitions of the topic.
	Partitions(ctx context.Context) (int, error)
	// Publish returns nil once every message is durable, in order within its partition. After an error any of them may
	// still have been, or be, delivered.
	Publish(ctx context.Context, batch []PartitionMessage) error
}

// PartitionMessage is a message bound for a partition.
type PartitionMessage struct {
	Partition int
	Message
}

// EventSource is a stream of version events that an instance follows to evict its L1: coherence/kafka's Tail, or one of
// the caller's own.
//
// Sequence numbers and barriers are believed. Where others may write the stream, the EventSource delivers no barrier of
// theirs, sets each Event.Seq to 0, and finds out by itself whether an event is missing, as the Tail does.
type EventSource interface {
	// Run delivers to sink until ctx ends and recovers by itself from everything that may pass; it returns an error
	// only if it can never work. Every event published after the sink's Session call of its partition is delivered, in
	// order, or a further Session call says that some may be missing.
	Run(ctx context.Context, sink Sink) error
}

// Sink takes what an EventSource delivers. Its methods may be called concurrently for different partitions. A barrier
// may also come while events behind it are delivered to the same partition.
type Sink interface {
	// Session says that from now on events of the partition are followed from a definite offset, and that any before
	// may have been missed: a start, a gap, a recreated topic, an offset out of range.
	Session(partition int)
	// Lost says that the partition is not being followed now (a broker that does not answer). Either Resumed or Session
	// follows.
	Lost(partition int)
	// Resumed says, after Lost, that the partition is followed again from the very next message: nothing was missed, so
	// no new session begins.
	Resumed(partition int)
	// Partitions says how many partitions there are. Called before the first Session and whenever the number changes.
	Partitions(n int)
	// Deliver hands over messages of a partition, in order. It blocks until they took effect on this instance.
	Deliver(ctx context.Context, partition int, batch []Message) error
	// Malformed counts a message that could not be decoded. The message is skipped.
	Malformed(partition int, err error)
	// Failed says why a partition is not followed, or why the stream as a whole is not (partition -1). It may be called
	// again while that lasts. Session and Resumed end it for their partition, the first of either for the whole stream.
	// An error that wraps ErrMisconfigured does not pass by waiting.
	Failed(partition int, err error)
}

// PositionSink is a Sink that wants to know the source's position without asking the source. An EventSource whose relay
// tells of its rounds calls AskPositions when Run begins.
type PositionSink interface {
	// AskPositions hands over a question that is answered as Source.Position answers: the position covers at least every
	// commit acknowledged before the call began. The answer comes with the relay's rounds, so it takes about two of them.
	// Without a relay that tells of them the question waits until its context ends. It may be asked concurrently, until
	// Run returns.
	AskPositions(position func(ctx context.Context) (Position, error))
}

// Pinger is an EventSource that can find out, when a client starts, whether it can work at all.
type Pinger interface {
	// Ping returns an error that wraps ErrMisconfigured if the configuration can never work, and nil otherwise, also
	// where it could not find out in time. nearcache.New calls it with a deadline of one second.
	Ping(ctx context.Context) error
}
