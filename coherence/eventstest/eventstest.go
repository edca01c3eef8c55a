package eventstest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Harness is an event channel to be checked, and the means that the checks need besides.
type Harness struct {
	// Events returns another follower of the channel. Required.
	Events func() coherence.EventSource
	// Publisher is the relay's way to the channel. It can publish at once. Nobody else publishes. Required.
	Publisher coherence.Publisher
	// NoBarriers says that the followers drop barriers, as those of coherence.JoinEvents do.
	NoBarriers bool
	// Write writes a message as those may who are allowed to write events, and no more. nil: nobody else may write.
	Write func(ctx context.Context, partition int, value []byte) error
	// Forged are messages that look like the channel's barriers. They are written by Write.
	Forged []string
	// Line carries the connections of the followers, but not those of the Publisher. nil: interruptions are not checked.
	Line *Line
	// Lose removes all messages that the channel keeps, as retention does. nil: that is not checked.
	Lose func(ctx context.Context) error
	// Recreate deletes the channel and makes it again, with as many partitions. nil: that is not checked.
	Recreate func(ctx context.Context) error
	// Misconfigured returns a follower that can never work, for a wrong password for example. nil: that is not checked.
	Misconfigured func() coherence.EventSource
}

// T is the part of *testing.T that a check uses.
type T interface {
	Helper()
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Check is one part of the suite.
type Check struct {
	Name string
	Run  func(t T, h Harness)
}

// Run runs every check, each with a Harness of its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, c := range Checks() {
		t.Run(c.Name, func(t *testing.T) { c.Run(t, open(t)) })
	}
}

// Checks are the parts of the suite, for those who run them in their own way.
func Checks() []Check {
	return []Check{
		{"Partitions_AreAnnouncedFirst", partitionsFirst},
		{"Events_ComeInOrderAndWhole", eventsInOrder},
		{"Events_AreNotMissedAfterASession", eventsAfterSession},
		{"Events_WaitForTheSink", eventsWait},
		{"Events_ThatTheSinkRefusesCountAsMissed", eventsRefused},
		{"Followers_DoNotHoldEachOtherUp", followersApart},
		{"Malformed_IsCountedAndPassedOver", malformedPassed},
		{"Barriers_ComeAfterWhatTheyCover", barriersAfter},
		{"Barriers_WaitForASlowSink", barriersWait},
		{"Barriers_ShowAMissingNumber", barriersGap},
		{"Barriers_AreNotForged", barriersForged},
		{"Barriers_AreDroppedWhereTheyProveNothing", barriersDropped},
		{"Numbers_OfOthersMeanNothing", numbersForeign},
		{"Positions_CoverWhatWasAcknowledged", positionsCover},
		{"Positions_WaitForTheRelay", positionsWait},
		{"Interruption_IsToldWithItsReason", interruptionTold},
		{"Interruption_LosesNothing", interruptionLosesNothing},
		{"Interruption_WithALossIsNoticed", interruptionLoss},
		{"Recreation_IsNoticed", recreation},
		{"Recreation_WhileCutOffIsNoticed", recreationUnseen},
		{"Misconfiguration_IsNamed", misconfiguration},
		{"Run_EndsWithItsContext", runEnds},
		{"Run_EndsDuringADelivery", runEndsDelivering},
		{"Run_MayBeCalledAgain", runAgain},
	}
}

// patience is how long a check waits for what must come; nothing is timed by it.
var patience = time.Minute

// eventually polls until ok returns true.
func eventually(t T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
		<-tick.C
	}
}

// relay publishes as a relay does: with numbers, positions and rounds.
type relay struct {
	t    T
	h    Harness
	n    int // partitions
	seqs []uint64
	at   uint64 // the position of what was published last
	term uint64
	// round is the number of the last barriers.
	round uint64
	// published are the keys of each partition, in order, with their positions.
	published [][]published
}

type published struct {
	key string
	at  uint64
}

const timeline = 1

func newRelay(t T, h Harness) *relay {
	t.Helper()
	n, err := h.Publisher.Partitions(t.Context())
	if err != nil || n < 1 {
		t.Fatalf("Partitions = %d, %v", n, err)
	}
	return &relay{t: t, h: h, n: n, seqs: make([]uint64, n), term: 7, published: make([][]published, n)}
}

// next makes the next event of a partition, committed at the next position.
func (r *relay) next(p int) coherence.PartitionMessage {
	r.at++
	r.seqs[p]++
	e := coherence.Event{Namespace: "n", Key: fmt.Sprintf("p%d-%d", p, r.seqs[p]), Version: coherence.Version(r.at),
		Op: coherence.OpUpdated, Seq: r.seqs[p], Position: coherence.Position{Timeline: timeline, N: r.at},
		Time: time.Unix(1_700_000_000+int64(r.at), 0).UTC()}
	r.published[p] = append(r.published[p], published{e.Key, r.at})
	return coherence.PartitionMessage{Partition: p, Message: coherence.Message{Event: e}}
}

// events publishes one more event to each partition, in one batch, and returns their keys by partition.
func (r *relay) events() (keys []string) {
	r.t.Helper()
	batch := make([]coherence.PartitionMessage, r.n)
	keys = make([]string, r.n)
	for p := range batch {
		batch[p] = r.next(p)
		keys[p] = batch[p].Event.Key
	}
	r.publish(batch)
	return keys
}

// publish publishes until that succeeds: a channel that was just made again may refuse a while.
func (r *relay) publish(batch []coherence.PartitionMessage) {
	r.t.Helper()
	var err error
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if err = r.h.Publisher.Publish(r.t.Context(), batch); err == nil {
			return
		}
		pause(r.t.Context(), 10*time.Millisecond)
	}
	r.t.Fatalf("Publish: %v", err)
}

// barriers are those of the next round, with the source's head.
func (r *relay) barriers(head uint64) []coherence.PartitionMessage {
	r.round++
	batch := make([]coherence.PartitionMessage, r.n)
	for p := range batch {
		b := &coherence.Barrier{Position: coherence.Position{Timeline: timeline, N: r.at}, Seq: r.seqs[p], Partitions: r.n,
			Term: r.term, Round: r.round}
		if head > 0 {
			b.Head = coherence.Position{Timeline: timeline, N: head}
		}
		batch[p] = coherence.PartitionMessage{Partition: p, Message: coherence.Message{Barrier: b}}
	}
	return batch
}

// barrier publishes barriers at the position of the last event, and returns it.
func (r *relay) barrier() uint64 {
	r.t.Helper()
	r.publish(r.barriers(0))
	return r.at
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
