package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// applier is an L2 that may be down.
type applier struct {
	mu      sync.Mutex
	down    bool
	tries   int
	applied []string
}

func (a *applier) Apply(_ context.Context, events ...coherence.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tries++
	if a.down {
		return errors.New("Redis is down")
	}
	for _, ch := range events {
		a.applied = append(a.applied, fmt.Sprintf("%s v%d", ch.Key, ch.Version))
	}
	return nil
}

func (a *applier) count(s string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.applied {
		if x == s {
			n++
		}
	}
	return n
}

func work(t *testing.T, w *kafka.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func TestWorker_AppliesFromTheEarliestAndCommitsAfter(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("worker")
		p := publisher(t, brokers, topic, 2)
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("early", 3, 1)},
			{Partition: 1, Message: event("foreign", 0, 0)}}); err != nil {
			t.Fatal(err)
		}
		store := &applier{down: true}
		w := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store}
		stop := work(t, w)
		eventually(t, "it tries again and again",
			func() bool { store.mu.Lock(); defer store.mu.Unlock(); return store.tries > 2 })
		stop() // with nothing applied, so nothing may be committed
		store.down = false
		stop = work(t, w)
		eventually(t, "its successor gets it all", func() bool {
			return store.count("early v3") == 1 &&
				store.count("foreign v0") == 1
		})
		stop()
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("later", 1,
			2)}}); err != nil {
			t.Fatal(err)
		}
		work(t, w)
		eventually(t, "the third goes on", func() bool { return store.count("later v1") == 1 })
		if n := store.count("early v3"); n != 1 {
			t.Errorf("what was committed is applied %d times", n)
		}
	})
}

// TestWorker_IsThereBeforeItsTopic: a group joined for a topic that is not there yet could stay without partitions.
func TestWorker_IsThereBeforeItsTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic, store, reg := servicestest.Unique("before"), &applier{}, prometheus.NewRegistry()
		work(t, &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store,
			Registerer: reg})
		eventually(t, "it has looked for its topic", func() bool {
			families, _ := reg.Gather()
			for _, f := range families {
				if f.GetName() == "nearcache_worker_errors_total" {
					return true
				}
			}
			return false
		})
		p := publisher(t, brokers, topic, 2)
		for part := range 2 {
			if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: part,
				Message: event(fmt.Sprint("late ", part), 1, 1)}}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "it applies what comes", func() bool {
			return store.count("late 0 v1") == 1 &&
				store.count("late 1 v1") == 1
		})
	})
}

func TestWorker_SetsMalformedMessagesAside(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("malformed")
		p := publisher(t, brokers, topic, 1)
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		eventually(t, "garbage is produced", func() bool {
			res, err := client.Produce(t.Context(), &kafkago.ProduceRequest{Topic: topic,
				RequiredAcks: kafkago.RequireAll,
				Records: kafkago.NewRecordReader(kafkago.Record{Key: kafkago.NewBytes([]byte("k")),
					Value: kafkago.NewBytes([]byte("garbage"))})})
			return err == nil && res.Error == nil
		})
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("good", 1, 1)}}); err != nil {
			t.Fatal(err)
		}
		store := &applier{}
		work(t, &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store})
		eventually(t, "the good one is applied", func() bool { return store.count("good v1") == 1 })
		r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: brokers, Topic: topic + ".dlq",
			MaxWait: 50 * time.Millisecond})
		defer r.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		headers := map[string]string{}
		for _, h := range m.Headers {
			headers[h.Key] = string(h.Value)
		}
		if string(m.Value) != "garbage" || string(m.Key) != "k" || !strings.Contains(headers["nearcache-reason"],
			"not a JSON object") ||
			headers["nearcache-topic"] != topic || headers["nearcache-partition"] != "0" ||
			headers["nearcache-offset"] != "1" {
			t.Errorf("%s %s %v", m.Key, m.Value, headers)
		}
	})
}

func TestWorkers_ShareAndTakeOver(t *testing.T) { // R24
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("share")
		p := publisher(t, brokers, topic, 4)
		store := &applier{}
		member := func() *kafka.Worker {
			return &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store}
		}
		stop := work(t, member())
		work(t, member())
		send := func(round int) {
			for part := range 4 {
				for i := range 10 {
					if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: part,
						Message: event(fmt.Sprintf("%d/%d/%d", round, part, i), 1, 0)}}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		all := func(round int) bool {
			for part := range 4 {
				for i := range 10 {
					if store.count(fmt.Sprintf("%d/%d/%d v1", round, part, i)) == 0 {
						return false
					}
				}
			}
			return true
		}
		send(1)
		eventually(t, "both together apply everything", func() bool { return all(1) })
		go stop()
		send(2)
		eventually(t, "the other takes over", func() bool { return all(2) })
		stop()
	})
}
