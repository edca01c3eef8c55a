package kafka_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// produce sends values to partition 0 of a topic, as anybody would who may write it.
func produce(t *testing.T, brokers []string, topic string, values ...string) {
	t.Helper()
	client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
	eventually(t, "the client has heard of the topic", func() bool {
		rs := make([]kafkago.Record, len(values))
		for i, v := range values {
			rs[i] = kafkago.Record{Key: kafkago.NewBytes([]byte("k")), Value: kafkago.NewBytes([]byte(v))}
		}
		res, err := client.Produce(t.Context(), &kafkago.ProduceRequest{Topic: topic,
			RequiredAcks: kafkago.RequireAll, Records: kafkago.NewRecordReader(rs...)})
		if errors.Is(err, protocol.ErrNoTopic) {
			return false
		}
		if err == nil {
			err = res.Error
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	})
}

// TestTail_ForgedBarriersProveNothing: whoever could write the events' topic could prove whatever they liked.
func TestTail_ForgedBarriersProveNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("forged")
		p := publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		forged := `{"barrier":true,"seq":9,"partitions":1,"position":{"timeline":"1","n":1099511627776}}`
		produce(t, brokers, topic, forged,
			fmt.Sprintf(`{"topic":%q,"position":{"timeline":"1","n":99},"ends":[0],"seqs":[9]}`, topic), forged)
		if err := p.Publish(t.Context(), toPartition0(event("real", 1, 1))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what follows comes", func() bool { return slices.Contains(r.of(0), "real v1") })
		if got, want := r.of(0), []string{"session", "malformed", "malformed", "malformed",
			"real v1"}; !slices.Equal(got, want) {
			// The two forged barriers and the event may be one batch: what matters is that no barrier is among them.
			if slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "barrier") }) {
				t.Errorf("%v", got)
			}
		}
	})
}

// TestTail_ABarrierWaitsForItsEvents: it comes by another topic, and may be read before the events that it covers. It
// is taken once they have been delivered.
func TestTail_ABarrierWaitsForItsEvents(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("waits")
		p := publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		// The relay's barriers would be read from its topic after those of the test, whose ends are beyond the
		// topic's.
		send := func(n, end int) {
			produce(t, brokers, kafka.BarrierTopic(topic),
				fmt.Sprintf(`{"topic":%q,"position":{"timeline":"1","n":%d},"ends":[%d],"seqs":[0]}`, topic, n, end))
		}
		send(1, 1) // "warm up" is below it
		eventually(t, "one that is covered is taken at once", func() bool {
			return slices.Contains(r.of(0), "barrier at 1")
		})
		send(2, 3)
		produce(t, brokers, kafka.BarrierTopic(topic), "garbage",
			`{"topic":"another","position":{"timeline":"1","n":9},"ends":[0],"seqs":[0]}`,
			fmt.Sprintf(`{"topic":%q,"topic_id":"00000000000000000000000000000001",`+
				`"position":{"timeline":"1","n":9},"ends":[0],"seqs":[7]}`, topic))
		for i := range 3 {
			if err := p.Publish(t.Context(), toPartition0(event(fmt.Sprint("e", i), 1, 0))); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all is there", func() bool { return len(r.of(0)) >= 6 })
		got := r.of(0)
		at := slices.Index(got, "barrier at 2")
		if first, second := slices.Index(got, "e0 v1"), slices.Index(got, "e1 v1"); at < first || at < second ||
			first < 0 || slices.Contains(got, "barrier at 9") {
			t.Errorf("the second barrier covers e0 and e1: %v", got)
		}
	})
}

// TestTail_ABarrierFromBeforeItsSession is taken too: an idle relay sends no others.
func TestTail_ABarrierFromBeforeItsSession(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("before")
		p := publisher(t, brokers, topic, 1)
		if err := p.Publish(t.Context(), toPartition0(event("old", 1, 1), barrierAt(5, 1))); err != nil {
			t.Fatal(err)
		}
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "it is taken", func() bool { return slices.Equal(r.of(0), []string{"session", "barrier at 5"}) })
	})
}

// TestTail_TheNumbersBeginInTheSession: a barrier from before the session says nothing of the events after it that were
// published before the session too. The next barrier asks for them, and they are no gap.
func TestTail_TheNumbersBeginInTheSession(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("begins")
		p := publisher(t, brokers, topic, 1)
		publish := func(messages ...coherence.Message) {
			t.Helper()
			if err := p.Publish(t.Context(), toPartition0(messages...)); err != nil {
				t.Fatal(err)
			}
		}
		publish(event("old", 1, 1), barrierAt(1, 1))
		publish(event("older than the session", 1, 2))
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "the first barrier is taken", func() bool { return slices.Contains(r.of(0), "barrier at 1") })
		publish(event("new", 1, 3), barrierAt(3, 3))
		eventually(t, "the second barrier is taken", func() bool { return slices.Contains(r.of(0), "barrier at 3") })
		publish(event("newer", 1, 5), barrierAt(5, 5)) // 4 is missing
		eventually(t, "the third barrier is taken", func() bool { return slices.Contains(r.of(0), "barrier at 5") })
		want := []string{"session", "barrier at 1", "new v1", "barrier at 3", "newer v1", "session", "barrier at 5"}
		if got := slices.Compact(r.of(0)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// TestTail_ForgedNumbersMeanNothing: a number ahead of the relay's ended the session of every instance, and hid the
// next events that really were missing.
func TestTail_ForgedNumbersMeanNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("numbers")
		p := publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		round := func(n uint64, events ...coherence.Message) {
			t.Helper()
			for _, batch := range [][]coherence.Message{events, {barrierAt(n, n)}} {
				if err := p.Publish(t.Context(), toPartition0(batch...)); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "the barrier is taken", func() bool {
				return slices.Contains(r.of(0), fmt.Sprint("barrier at ", n))
			})
		}
		round(1, event("a", 1, 1))
		produce(t, brokers, topic, `{"namespace":"n","key":"f","version":1,"seq":1152921504606846976,`+
			`"position":{"timeline":"1","n":1152921504606846976}}`)
		round(2, event("b", 1, 2))
		round(4, event("d", 1, 4)) // 3 is missing
		want := []string{"session", "a v1", "barrier at 1", "f v1", "b v1", "barrier at 2", "d v1", "session",
			"barrier at 4"}
		if got := slices.Compact(r.of(0)); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
