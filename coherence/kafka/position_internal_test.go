package kafka

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// lastPosition is a sink that keeps the position of the last barrier.
type lastPosition struct {
	mu sync.Mutex
	at coherence.Position
}

func (*lastPosition) Session(int)          {}
func (*lastPosition) Lost(int)             {}
func (*lastPosition) Resumed(int)          {}
func (*lastPosition) Partitions(int)       {}
func (*lastPosition) Malformed(int, error) {}
func (*lastPosition) Failed(int, error)    {}

func (l *lastPosition) Deliver(_ context.Context, _ int, batch []coherence.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range batch {
		if m.Barrier != nil {
			l.at = m.Barrier.Position
		}
	}
	return nil
}

func (l *lastPosition) has(n uint64) func() bool {
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.at.N == n
	}
}

// TestPosition_ComesWithTheSecondBarrier: the first one behind the question may have been on its way. That of another
// relay says nothing, nor does one of a round whose barriers before were not acknowledged.
func TestPosition_ComesWithTheSecondBarrier(t *testing.T) {
	for name, brokers := range map[string]func(t *testing.T) []string{
		"embedded": func(t *testing.T) []string { return nearcachetest.NewKafka(t, 1).Brokers() },
		"real":     func(t *testing.T) []string { return servicestest.Kafka(t) },
	} {
		t.Run(name, func(t *testing.T) { positionWithSecondBarrier(t, Broker{Brokers: brokers(t)}) })
	}
}

func positionWithSecondBarrier(t *testing.T, broker Broker) {
	topic := servicestest.Unique("positions")
	p, err := NewPublisher(PublisherConfig{Broker: broker, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	testkit.Eventually(t, "the topics are there", func() bool { return p.CreateTopic(t.Context(), 1, 1) == nil })
	round := func(term, round, n uint64) error {
		at := coherence.Position{Timeline: 1, N: n}
		b := &coherence.Barrier{Position: at, Partitions: 1, Head: at, Term: term, Round: round}
		return p.Publish(t.Context(), []coherence.PartitionMessage{{Message: coherence.Message{Barrier: b}}})
	}
	testkit.Eventually(t, "they take records", func() bool { return round(9, 1, 50) == nil })

	sink := &lastPosition{}
	tail := Tail{Broker: broker, Topic: topic}
	if err := tail.prepare(); err != nil {
		t.Fatal(err)
	}
	r := &tailRun{Tail: tail, sink: sink, c: tail.connect()}
	defer r.c.close()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { r.follow(ctx) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(round(7, 1, 100))
	testkit.Eventually(t, "the barrier is read", sink.has(100))

	answers, failed := make(chan coherence.Position, 1), make(chan error, 1)
	wg.Go(func() {
		at, err := r.position(ctx)
		if err != nil {
			failed <- err
		}
		answers <- at
	})
	testkit.Eventually(t, "the end is answered", func() bool {
		r.positions.mu.Lock()
		defer r.positions.mu.Unlock()
		return len(r.positions.waiting) == 1
	})
	must(round(7, 2, 200)) // its head may have been asked for before the question
	must(round(8, 1, 300)) // of another relay
	must(round(7, 4, 400)) // round 3 was not acknowledged
	testkit.Eventually(t, "the barriers are read", sink.has(400))
	select {
	case at := <-answers:
		t.Fatalf("got %v before the second barrier of a relay", at)
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	must(round(7, 5, 500))
	select {
	case at := <-answers:
		if at.N != 500 {
			t.Errorf("got %v, want the head of the second barrier", at)
		}
	case <-time.After(30 * time.Second):
		t.Error("got no position")
	}
}
