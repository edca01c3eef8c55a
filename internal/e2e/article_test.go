package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// python is an interpreter with kafka-python and redis: NEARCACHE_TEST_PYTHON, or python3. A test run that must not
// skip sets the variable; then a missing package is a failure.
func python(t *testing.T) string {
	t.Helper()
	name, wanted := os.LookupEnv("NEARCACHE_TEST_PYTHON")
	if !wanted {
		name = "python3"
	}
	if out, err := exec.CommandContext(t.Context(), name, "-c", "import kafka, redis").CombinedOutput(); err != nil {
		report := t.Skipf
		if wanted {
			report = t.Fatalf
		}
		report("needs Python with the packages kafka-python and redis: set NEARCACHE_TEST_PYTHON (%v: %s)", err, out)
	}
	return name
}

// TestArticle runs a producer and an invalidation worker of another team, in Python, beside our relay's publisher and
// worker, on one topic and one Redis. Their worker must hear of each change, also of creations and deletions, and of
// nothing that it does not know but those; ours must hear of theirs.
func TestArticle(t *testing.T) {
	interpreter := python(t)
	brokers := servicestest.Kafka(t)
	topic := servicestest.Topic(t, brokers, "article", 4)
	host, port, err := net.SplitHostPort(servicestest.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	redis, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{net.JoinHostPort(host, port)},
		DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()

	theirs := &said{}
	worker := exec.CommandContext(t.Context(), interpreter, "testdata/article/worker.py",
		strings.Join(brokers, ","), topic, topic+"-theirs", host, port)
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	worker.Stderr = os.Stderr
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = worker.Process.Kill(); _ = worker.Wait() }()
	go theirs.read(bufio.NewScanner(out))

	ours := &heard{}
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	working.Go(func() {
		w := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-ours",
			Codec: product.EventCodec(), L2: ours}
		_ = w.Run(ctx)
	})

	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: topic,
		Codec: product.EventCodec(), Also: product.AlsoUpdated})
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	var batch, barriers []coherence.PartitionMessage
	seqs := make([]uint64, 4)
	ops := []coherence.Op{coherence.OpCreated, coherence.OpUpdated, coherence.OpDeleted}
	for i := range 40 {
		key := fmt.Sprintf("%s-%d", topic, i)
		if err := redis.Do(t.Context(), redis.B().Set().Key("product:"+key).Value("old").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		part := coherence.PartitionOf(product.Namespace, key, 4)
		seqs[part]++
		batch = append(batch, coherence.PartitionMessage{Partition: part,
			Message: coherence.Message{Event: coherence.Event{
				Namespace: product.Namespace, Key: key, Version: 1, Op: ops[i%3], Seq: seqs[part]}}})
	}
	for part, seq := range seqs {
		barriers = append(barriers, coherence.PartitionMessage{Partition: part, Message: coherence.Message{
			Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: 1}, Seq: seq, Partitions: 4}}})
	}
	testkit.Eventually(t, "the events are published", func() bool {
		return publisher.Publish(t.Context(),
			batch) == nil
	})
	testkit.Eventually(t, "so are barriers", func() bool { return publisher.Publish(t.Context(), barriers) == nil })

	producer := exec.CommandContext(t.Context(), interpreter, "testdata/article/producer.py", strings.Join(brokers,
		","), topic, "9007199254740993")
	if out, err := producer.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	testkit.Eventually(t, "their worker has heard of all of it", func() bool { return theirs.count("deleted ") >= 41 })
	testkit.Eventually(t, "ours too", func() bool { return ours.has("9007199254740993") && ours.has(topic+"-39") })
	for i := range 40 {
		if n, err := redis.Do(t.Context(), redis.B().Exists().Key(fmt.Sprintf("product:%s-%d", topic,
			i)).Build()).AsInt64(); n != 0 || err != nil {
			t.Errorf("their entry of product %d survives its change (%v)", i, err)
		}
	}
	if warnings, most := theirs.count("warning:"), 27; warnings > most {
		t.Errorf("%d warnings, where %d creations and deletions are what their worker does not know", warnings, most)
	}
}

// said is what a program has printed.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) read(in *bufio.Scanner) {
	for in.Scan() {
		s.mu.Lock()
		s.lines = append(s.lines, in.Text())
		s.mu.Unlock()
	}
}

func (s *said) count(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// heard is an L2 that remembers the keys of events.
type heard struct {
	mu   sync.Mutex
	keys map[string]bool
}

// Apply implements kafka.Applier.
func (h *heard) Apply(_ context.Context, events ...coherence.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.keys == nil {
		h.keys = make(map[string]bool)
	}
	for _, e := range events {
		h.keys[e.Key] = true
	}
	return nil
}

func (h *heard) has(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.keys[key]
}
