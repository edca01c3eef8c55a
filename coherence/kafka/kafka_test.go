package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// onBoth runs a test on the in-process Kafka and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, brokers []string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) { test(t, nearcachetest.NewKafka(t, 1).Brokers()) })
	t.Run("real", func(t *testing.T) { test(t, servicestest.Kafka(t)) })
}

// recorder is a sink that writes down what it is told, by partition.
type recorder struct {
	mu    sync.Mutex
	parts int
	log   map[int][]string
}

func (r *recorder) note(p int, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.log == nil {
		r.log = map[int][]string{}
	}
	r.log[p] = append(r.log[p], fmt.Sprintf(format, args...))
}

func (r *recorder) Session(p int)            { r.note(p, "session") }
func (r *recorder) Lost(p int)               { r.note(p, "lost") }
func (r *recorder) Resumed(p int)            { r.note(p, "resumed") }
func (r *recorder) Malformed(p int, _ error) { r.note(p, "malformed") }
func (r *recorder) Failed(p int, _ error)    { r.note(p, "failed") }
func (r *recorder) Partitions(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts = n
}

func (r *recorder) Deliver(_ context.Context, p int, batch []coherence.Message) error {
	for _, m := range batch {
		if m.Barrier != nil {
			r.note(p, "marker %d", m.Barrier.Seq)
		} else {
			r.note(p, "%s v%d #%d", m.Event.Key, m.Event.Version, m.Event.Seq)
		}
	}
	return nil
}

func (r *recorder) of(p int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.log[p])
}

func publisher(t *testing.T, brokers []string, topic string, partitions int) *kafka.Publisher {
	t.Helper()
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for range 2 {
		if err := p.CreateTopic(t.Context(), partitions, 1); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the topic is there", func() bool { n, err := p.Partitions(t.Context()); return err == nil && n == partitions })
	testkit.Eventually(t, "the topic takes messages", func() bool {
		for part := range partitions {
			if p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: part, Message: event("warm up", 1, 0)}}) != nil {
				return false
			}
		}
		return true
	})
	return p
}

func event(key string, v coherence.Version, seq uint64) coherence.Message {
	return coherence.Message{Event: coherence.Event{Namespace: "n", Key: key, Version: v, Seq: seq}}
}

// follow runs a tail until the test ends.
func follow(t *testing.T, tail kafka.Tail) *recorder {
	t.Helper()
	r := &recorder{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = tail.Run(ctx, r) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func TestTail_SeesWhatIsPublishedAfterItsSession(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("tail")
		p := publisher(t, brokers, topic, 2)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		testkit.Eventually(t, "sessions", func() bool { return len(r.of(0)) == 1 && len(r.of(1)) == 1 })
		marker := coherence.Message{Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: 1}, Seq: 2}}
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("a", 1, 1)}, {Partition: 1, Message: event("b", 1, 1)},
			{Partition: 0, Message: event("c", 2, 2)}, {Partition: 0, Message: marker}}); err != nil {
			t.Fatal(err)
		}
		w := &kafkago.Writer{Addr: kafkago.TCP(brokers...), Topic: topic, RequiredAcks: kafkago.RequireAll, BatchTimeout: time.Millisecond,
			Compression: kafkago.Snappy, Balancer: kafkago.BalancerFunc(func(kafkago.Message, ...int) int { return 1 })}
		defer w.Close()
		if err := w.WriteMessages(t.Context(), kafkago.Message{Value: []byte("garbage")}, kafkago.Message{Value: nil},
			kafkago.Message{Value: []byte(`{"namespace":"n","key":"d"}`)}); err != nil {
			t.Fatal(err)
		}
		want := [][]string{{"session", "a v1 #1", "c v2 #2", "marker 2"}, {"session", "b v1 #1", "malformed", "malformed", "d v0 #0"}}
		for part := range want {
			testkit.Eventually(t, "all is delivered", func() bool { return len(r.of(part)) >= len(want[part]) })
			if diff := cmp.Diff(want[part], r.of(part)); diff != "" {
				t.Errorf("partition %d: %s", part, diff)
			}
		}
	})
}

func TestTail_FollowsNewPartitions(t *testing.T) { // R26
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("grow")
		p := publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, Refresh: 50 * time.Millisecond, MaxWait: 50 * time.Millisecond})
		testkit.Eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		res, err := client.CreatePartitions(t.Context(), &kafkago.CreatePartitionsRequest{Topics: []kafkago.TopicPartitionsConfig{{Name: topic, Count: 2}}})
		if err == nil {
			err = res.Errors[topic]
		}
		if err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the new partition takes messages", func() bool {
			return p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 1, Message: event("new", 1, 1)}}) == nil
		})
		testkit.Eventually(t, "and is read from its beginning", func() bool { return slices.Contains(r.of(1), "new v1 #1") })
		if r.of(1)[0] != "session" || r.parts != 2 {
			t.Errorf("%v, of %d partitions", r.of(1), r.parts)
		}
	})
}

func TestTail_TopicMadeAnew(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("anew")
		p := publisher(t, brokers, topic, 1)
		for i := range uint64(20) {
			if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("x", 1, i)}}); err != nil {
				t.Fatal(err)
			}
		}
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, Refresh: 50 * time.Millisecond, MaxWait: 50 * time.Millisecond})
		testkit.Eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		if _, err := client.DeleteTopics(t.Context(), &kafkago.DeleteTopicsRequest{Topics: []string{topic}}); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, "the topic is there again", func() bool { return p.CreateTopic(t.Context(), 1, 1) == nil })
		testkit.Eventually(t, "another session", func() bool {
			_ = p.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("fresh", 1, 1)}})
			n := 0
			for _, s := range r.of(0) {
				if s == "session" {
					n++
				}
			}
			return n >= 2 && r.of(0)[len(r.of(0))-1] == "fresh v1 #1"
		})
	})
}

func TestTail_SilenceIsLossAndNoGap(t *testing.T) {
	p := servicestest.StartKafka(t)
	topic := servicestest.Unique("silence")
	pub := publisher(t, p.Brokers, topic, 1)
	r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: p.Brokers}, Topic: topic, MaxWait: 50 * time.Millisecond, Silence: 300 * time.Millisecond})
	testkit.Eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
	p.Pause() // a black hole: connections stay, nothing answers
	testkit.Eventually(t, "the loss is noticed", func() bool { return slices.Contains(r.of(0), "lost") })
	p.Resume()
	testkit.Eventually(t, "it goes on", func() bool {
		_ = pub.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("after", 1, 1)}})
		return strings.HasPrefix(r.of(0)[len(r.of(0))-1], "after")
	})
	got := slices.Compact(slices.DeleteFunc(r.of(0), func(s string) bool { return strings.HasPrefix(s, "after") }))
	if diff := cmp.Diff([]string{"session", "lost", "resumed"}, got); diff != "" {
		t.Errorf("nothing was missed, so there is no new session: %s", diff)
	}
}

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

func work(t *testing.T, w kafka.Worker) (stop func()) {
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
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("early", 3, 1)}, {Partition: 1, Message: event("foreign", 0, 0)},
			{Partition: 0, Message: coherence.Message{Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: 1}, Seq: 1}}}}); err != nil {
			t.Fatal(err)
		}
		store := &applier{down: true}
		w := kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store}
		stop := work(t, w)
		testkit.Eventually(t, "it tries again and again", func() bool { store.mu.Lock(); defer store.mu.Unlock(); return store.tries > 2 })
		stop() // with nothing applied, so nothing may be committed
		store.down = false
		stop = work(t, w)
		testkit.Eventually(t, "its successor gets it all", func() bool { return store.count("early v3") == 1 && store.count("foreign v0") == 1 })
		stop()
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("later", 1, 2)}}); err != nil {
			t.Fatal(err)
		}
		work(t, w)
		testkit.Eventually(t, "the third goes on", func() bool { return store.count("later v1") == 1 })
		if n := store.count("early v3"); n != 1 {
			t.Errorf("what was committed is applied %d times", n)
		}
	})
}

// TestWorker_IsThereBeforeItsTopic: a group joined for a topic that is not there yet could stay without partitions.
func TestWorker_IsThereBeforeItsTopic(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic, store, reg := servicestest.Unique("before"), &applier{}, prometheus.NewRegistry()
		work(t, kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store, Registerer: reg})
		testkit.Eventually(t, "it has looked for its topic", func() bool {
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
			if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: part, Message: event(fmt.Sprint("late ", part), 1, 1)}}); err != nil {
				t.Fatal(err)
			}
		}
		testkit.Eventually(t, "it applies what comes", func() bool { return store.count("late 0 v1") == 1 && store.count("late 1 v1") == 1 })
	})
}

func TestWorker_SetsMalformedMessagesAside(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("malformed")
		p := publisher(t, brokers, topic, 1)
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		testkit.Eventually(t, "garbage is produced", func() bool {
			res, err := client.Produce(t.Context(), &kafkago.ProduceRequest{Topic: topic, RequiredAcks: kafkago.RequireAll,
				Records: kafkago.NewRecordReader(kafkago.Record{Key: kafkago.NewBytes([]byte("k")), Value: kafkago.NewBytes([]byte("garbage"))})})
			return err == nil && res.Error == nil
		})
		if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Message: event("good", 1, 1)}}); err != nil {
			t.Fatal(err)
		}
		store := &applier{}
		work(t, kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store})
		testkit.Eventually(t, "the good one is applied", func() bool { return store.count("good v1") == 1 })
		r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: brokers, Topic: topic + ".dlq", MaxWait: 50 * time.Millisecond})
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
		if string(m.Value) != "garbage" || string(m.Key) != "k" || !strings.Contains(headers["nearcache-reason"], "not a JSON object") ||
			headers["nearcache-topic"] != topic || headers["nearcache-partition"] != "0" || headers["nearcache-offset"] != "1" {
			t.Errorf("key %q: got value %q and headers %v, want value \"garbage\" and headers that name the reason and the place", m.Key, m.Value, headers)
		}
	})
}

func TestWorkers_ShareAndTakeOver(t *testing.T) { // R24
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("share")
		p := publisher(t, brokers, topic, 4)
		store := &applier{}
		w := kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store}
		stop := work(t, w)
		work(t, w)
		send := func(round int) {
			for part := range 4 {
				for i := range 10 {
					if err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: part, Message: event(fmt.Sprintf("%d/%d/%d", round, part, i), 1, 0)}}); err != nil {
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
		testkit.Eventually(t, "both together apply everything", func() bool { return all(1) })
		go stop()
		send(2)
		testkit.Eventually(t, "the other takes over", func() bool { return all(2) })
		stop()
	})
}
