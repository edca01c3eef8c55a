package kafka_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// wild is a codec that does anything.
func wild() coherence.EventCodec {
	return coherence.EventCodec{Decode: func(r coherence.Record) ([]coherence.Event, error) {
		switch string(r.Value) {
		case "panic":
			panic("codec")
		case "exit":
			runtime.Goexit()
		case "nothing":
			return []coherence.Event{{}}, nil
		case "colons":
			return []coherence.Event{{Namespace: "n", Key: "before"}, {Namespace: "a:b{}", Key: "k"}}, nil
		}
		return coherence.DecodeRecord(r)
	}}
}

var wildMessages = []string{"panic", "exit", "nothing", "colons", `{"namespace":"n","key":"after","version":1}`}

func TestTail_SurvivesItsCodec(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("wild")
		publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, Codec: wild(),
			MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		produce(t, brokers, topic, wildMessages...)
		want := []string{"session", "malformed", "malformed", "malformed", "malformed", "after v1"}
		eventually(t, "the last one comes", func() bool { return slices.Equal(r.of(0), want) })
	})
}

// letters reads n records of a dead-letter topic.
func letters(t *testing.T, brokers []string, topic string, n int) (all []kafkago.Message) {
	t.Helper()
	r := kafkago.NewReader(kafkago.ReaderConfig{Brokers: brokers, Topic: topic, MaxWait: 50 * time.Millisecond})
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range n {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			t.Fatalf("%d of %d letters: %v", len(all), n, err)
		}
		all = append(all, m)
	}
	return all
}

func header(m kafkago.Message, name string) string {
	for _, h := range m.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

func TestWorker_SurvivesItsCodec(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("wild")
		publisher(t, brokers, topic, 1)
		produce(t, brokers, topic, wildMessages...)
		store := &applier{}
		work(t, &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g",
			Codec: wild(), L2: store})
		eventually(t, "the last one is applied", func() bool { return store.count("after v1") == 1 })
		for i, m := range letters(t, brokers, topic+".dlq", 4) {
			if string(m.Value) != wildMessages[i] || header(m, "nearcache-reason") == "" {
				t.Errorf("%q, %v", m.Value, m.Headers)
			}
		}
	})
}

// TestWorker_NeverStopsBehindAMessage: a message whose copy the dead-letter topic did not take, and many that were
// too much for one batch, stopped it for good.
func TestWorker_NeverStopsBehindAMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("large")
		publisher(t, brokers, topic, 1)
		large := strings.Repeat("x", 1048500-200)
		produce(t, brokers, topic, large)
		for range 10 {
			produce(t, brokers, topic, slices.Repeat([]string{strings.Repeat("y", 20<<10)}, 30)...)
		}
		bomb := make([]byte, 150<<20)
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...), Timeout: 30 * time.Second}
		res, err := client.Produce(t.Context(), &kafkago.ProduceRequest{Topic: topic,
			RequiredAcks: kafkago.RequireAll, Compression: kafkago.Gzip,
			Records: kafkago.NewRecordReader(kafkago.Record{Value: kafkago.NewBytes(bomb)})})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			t.Fatal(err)
		}
		produce(t, brokers, topic, `{"namespace":"n","key":"after","version":1}`)
		store, reg := &applier{}, prometheus.NewRegistry()
		work(t, &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store,
			Registerer: reg})
		eventually(t, "what follows is applied", func() bool { return store.count("after v1") == 1 })
		all := letters(t, brokers, topic+".dlq", 302)
		if n := testkit.Metric(t, reg, "nearcache_worker_dead_letters_total", "lost"); n != 0 {
			t.Errorf("%v copies are lost", n)
		}
		for i, whole := range map[int][]byte{0: []byte(large), 301: bomb} {
			m := all[i]
			if header(m, "nearcache-bytes") != strconv.Itoa(len(whole)) || header(m,
				"nearcache-sha256") != fmt.Sprintf("%x", sha256.Sum256(whole)) ||
				len(m.Value) == 0 || len(m.Value) >= len(whole) || !bytes.HasPrefix(whole, m.Value) || header(m,
				"nearcache-offset") == "" {
				t.Errorf("letter %d: %d bytes of %d, %v", i, len(m.Value), len(whole), m.Headers)
			}
		}
		if m := all[150]; len(m.Value) != 20<<10 || header(m, "nearcache-bytes") != "" {
			t.Errorf("%d bytes, %v", len(m.Value), m.Headers)
		}
	})
}

// TestWorker_SaysThatItIsBehind while Redis is down.
func TestWorker_SaysThatItIsBehind(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("behind")
		publisher(t, brokers, topic, 1)
		store, reg := &applier{down: true}, prometheus.NewRegistry()
		w := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store,
			Registerer: reg, MaxBehind: time.Nanosecond}
		codes := func() (codes []string) {
			for _, r := range w.Status().Reasons {
				codes = append(codes, r.Code)
			}
			return codes
		}
		if got := codes(); !slices.Equal(got, []string{"not_running"}) {
			t.Errorf("before Run: %v", got)
		}
		if w.Status().Reasons[0].Since.IsZero() {
			t.Error("it does not say since when it does not run")
		}
		stop := work(t, w)
		eventually(t, "it says why", func() bool { return slices.Equal(codes(), []string{"apply", "behind"}) })
		if s := w.Status(); s.Lag == 0 || s.Behind == 0 || metric(t, reg,
			"nearcache_worker_lag_records") != float64(s.Lag) || metric(t, reg, "nearcache_worker_lag_seconds") <= 0 {
			t.Errorf("%+v", s)
		}
		store.mu.Lock()
		store.down = false
		store.mu.Unlock()
		eventually(t, "it is well again", func() bool {
			s := w.Status()
			return len(s.Reasons) == 0 && s.Lag == 0 && s.Behind == 0 && s.Partitions == 1
		})
		stop()
	})
}

// TestWorker_TopicMadeAnew: the worker stood still for 80 seconds, and said nothing.
func TestWorker_TopicMadeAnew(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("anew")
		p := publisher(t, brokers, topic, 1)
		for i := range 20 {
			if err := p.Publish(t.Context(), toPartition0(event(fmt.Sprint("old", i), 1, 0))); err != nil {
				t.Fatal(err)
			}
		}
		store, log := &applier{}, &testkit.Output{}
		w := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store,
			Logger: slog.New(slog.NewTextHandler(log, nil))}
		work(t, w)
		eventually(t, "it works", func() bool { return store.count("old19 v1") == 1 && w.Status().Lag == 0 })
		client := &kafkago.Client{Addr: kafkago.TCP(brokers...)}
		if _, err := client.DeleteTopics(t.Context(),
			&kafkago.DeleteTopicsRequest{Topics: []string{topic}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the topic is there again", func() bool { return p.CreateTopic(t.Context(), 2, 1) == nil })
		eventually(t, "it takes messages", func() bool {
			err := p.Publish(t.Context(), []coherence.PartitionMessage{{Partition: 0, Message: event("fresh", 1, 1)},
				{Partition: 1, Message: event("second", 1, 1)}})
			return err == nil
		})
		eventually(t, "it applies what comes, of every partition", func() bool {
			return store.count("fresh v1") > 0 &&
				store.count("second v1") > 0
		})
		if log.Count("WARN") == 0 {
			t.Error("nothing is logged")
		}
	})
}
