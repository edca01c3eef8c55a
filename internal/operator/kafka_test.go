package operator_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/operator"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// onKafka is an in-process Kafka with a topic, and the variables that lead to it.
func onKafka(t *testing.T, partitions int) (brokers []string, env map[string]string) {
	t.Helper()
	brokers = nearcachetest.NewKafka(t, partitions, "topic").Brokers()
	return brokers, map[string]string{"KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ","),
		"KAFKA_PRODUCT_TOPIC": "topic"}
}

// onBothKafkas runs a test on the in-process Kafka and on a real one.
func onBothKafkas(t *testing.T, partitions int,
	test func(t *testing.T, brokers []string, topic string, env map[string]string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		brokers, env := onKafka(t, partitions)
		test(t, brokers, "topic", env)
	})
	t.Run("real", func(t *testing.T) {
		brokers := servicestest.Kafka(t)
		topic := servicestest.Topic(t, brokers, "operator", partitions)
		test(t, brokers, topic, map[string]string{"KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ","),
			"KAFKA_PRODUCT_TOPIC": topic})
	})
}

// send appends values to a partition of a topic.
func send(t *testing.T, brokers []string, topic string, partition int, values ...string) {
	t.Helper()
	log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topic)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, v := range values {
		if err := log.Send(t.Context(), partition, nil, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplay_FromAnOffsetOrATime(t *testing.T) {
	onBothKafkas(t, 2, func(t *testing.T, brokers []string, topic string, env map[string]string) {
		redis := nearcachetest.NewRedis(t)
		env["REDIS_URL"] = redis.Addr()
		store := engineOf(t, redis)
		key := func(name string) l2.Key { return store.Keyspace().Key("n", name) }
		for _, name := range []string{"early", "old", "current", "other", "foreign"} {
			put(t, store, key(name), l2.Record{Version: 5, Payload: []byte("1")})
		}
		put(t, store, store.Keyspace().Key("product", "p1"), l2.Record{Version: 5, Payload: []byte("1")})
		there := func(ns, name string) bool {
			m := object(t, env, 0, "inspect", ns+":"+name)
			return m["state"] == "value"
		}
		send(t, brokers, topic, 0, `{"namespace":"n","key":"early","version":6}`)
		send(t, brokers, topic, 1, `{"namespace":"n","key":"old","version":6}`,
			`{"namespace":"n","key":"current","version":5}`,
			"garbage", `{"type":"PRODUCT_UPDATED","product_id":"p1"}`)

		m := object(t, env, 0, "replay", "--from", "1:0")
		if m["events"] != 3.0 || m["unversioned_events"] != 1.0 || m["malformed"] != 1.0 || m["dry_run"] != true {
			t.Errorf("got %v, want 3 events of partition 1, one of them without a version, and one malformed", m)
		}
		if !there("n", "old") || !there("product", "p1") {
			t.Error("a dry run has dropped something")
		}
		must(t, env, "2 applied", "replay", "--from", "1:0", "--namespace", "n", "--yes")
		if there("n", "old") || !there("n", "current") || !there("n", "early") || !there("product", "p1") {
			t.Error("from an offset of partition 1, of one namespace: want the older record gone, and no other")
		}
		out := must(t, env, "4 applied", "replay", "--from", "1h", "--yes")
		if there("n", "early") || there("product", "p1") || !there("n", "current") || !strings.Contains(out,
			"offsets 0 to 4") {
			t.Errorf("from a time: want everything older gone\n%s", out)
		}
		must(t, env, "0 would be applied", "replay", "--from", time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		must(t, env, "4 would be applied", "replay", "--from", "earliest")
		fails(t, env, 2, "partition 7", "replay", "--from", "7:0")
	})
}

// deadLetters runs a worker until it has set so many messages aside.
func deadLetters(t *testing.T, brokers []string, topic string, env map[string]string, n int) {
	t.Helper()
	ctx, stop := testContext(t)
	worker := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: servicestest.Unique("g"),
		L2: nobody{}}
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	testkit.Eventually(t, "the dead letters are there", func() bool {
		letters, _ := object(t, env, 0, "dlq", "list")["letters"].([]any)
		return len(letters) == n
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDLQ_ListShowAndReplay(t *testing.T) {
	onBothKafkas(t, 2, func(t *testing.T, brokers []string, topic string, env map[string]string) {
		must(t, env, "holds no dead letters", "dlq", "list")
		fails(t, env, 1, topic+".dlq", "dlq", "show", "0")
		send(t, brokers, topic, 1, "garbage", `{"namespace":"a:b","key":"k"}`)
		deadLetters(t, brokers, topic, env, 2)

		out := must(t, env, topic+"/1@0", "dlq", "list")
		if !strings.Contains(out, "malformed") || !strings.Contains(out, "0:1") {
			t.Errorf("got\n%s\nwant both, with the reasons", out)
		}
		must(t, env, `"garbage"`, "dlq", "show", "0:0")
		if m := object(t, env, 0, "dlq", "show", "1"); m["value"] != `{"namespace":"a:b","key":"k"}` || m["offset"] != 1.0 ||
			!strings.Contains(fmt.Sprint(m["reason"]), "colon") {
			t.Errorf("got %v, want the second", m)
		}
		fails(t, env, 1, "no record", "dlq", "show", "9")

		// What cannot be decoded is kept, and what was cut. The rest is sent, once it is asked for.
		dead := topic + ".dlq"
		log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, dead)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		good := `{"namespace":"n","key":"k","version":7}`
		from := []coherence.Header{{Key: "nearcache-topic", Value: []byte(topic)}, {Key: "nearcache-partition",
			Value: []byte("1")}, {Key: "nearcache-reason", Value: []byte("an older codec")}, {Key: "trace", Value: []byte("x")}}
		for _, headers := range [][]coherence.Header{from, append(slices.Clone(from), coherence.Header{Key: "nearcache-bytes",
			Value: []byte("5000000")}), {from[2]}} {
			if err := log.Send(t.Context(), 0, []byte("key"), []byte(good), headers...); err != nil {
				t.Fatal(err)
			}
		}
		end := func() (n int64) {
			events, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topic)
			if err != nil {
				t.Fatal(err)
			}
			defer events.Close()
			ranges, err := events.Partitions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n = ranges[1].Stable; n > 2 {
				_, err = events.Read(t.Context(), 1, n-1, n, func(r kafka.LogRecord) error {
					if string(r.Value) != good || string(r.Key) != "key" || len(r.Headers) != 1 || r.Headers[0].Key != "trace" {
						t.Errorf("got the record %q %q with %v, want it as it was at first", r.Key, r.Value, r.Headers)
					}
					return nil
				})
			}
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		out = must(t, env, "1 would be sent, 4 kept", "dlq", "replay", "--all")
		for _, want := range []string{"0:0  kept: it still cannot be decoded", "0:3  kept: it was cut",
			"0:4  kept: it does not say", "0:2  would be sent to " + topic + "/1"} {
			if !strings.Contains(out, want) {
				t.Errorf("got\n%s\nwant %q", out, want)
			}
		}
		if n := end(); n != 2 {
			t.Errorf("a dry run has sent %d", n-2)
		}
		must(t, env, "1 sent, 0 kept", "dlq", "replay", "0:2", "--yes")
		if n := end(); n != 3 {
			t.Errorf("the topic ends at %d, want 3", n)
		}
		must(t, env, "1 would be sent, 0 kept", "dlq", "replay", "0", "--malformed")
	})
}

// watching runs watch until the test ends.
func watching(t *testing.T, env map[string]string, args ...string) *testkit.Output {
	t.Helper()
	ctx, stop := testContext(t)
	out := &testkit.Output{}
	ended := make(chan int, 1)
	go func() {
		ended <- operator.Run(ctx, append([]string{"watch"}, args...), func(k string) string { return env[k] }, out, out)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("watch ended with %d:\n%s", code, out)
		}
	})
	return out
}

func TestWatch_Kafka(t *testing.T) {
	brokers, env := onKafka(t, 2)
	all := watching(t, env)
	one := watching(t, env, "n:k", "--json")
	testkit.Eventually(t, "all partitions are followed", func() bool {
		return strings.Count(all.String(), "session") == 2 && strings.Count(one.String(), "session") == 2
	})
	committed := time.Now().Add(-3 * time.Second).UTC().Format(time.RFC3339Nano)
	send(t, brokers, "topic", 1, `{"namespace":"n","key":"other","version":1}`,
		`{"namespace":"n","key":"k","version":7,"op":"updated","seq":3,"time":"`+committed+`"}`, "garbage")
	testkit.Eventually(t, "the events are printed", func() bool {
		return strings.Contains(all.String(), "n:other") && strings.Contains(all.String(), "malformed") &&
			strings.Contains(all.String(), "n:k  version 7  updated  lag 3.") && strings.Contains(one.String(), `"key":"k"`)
	})
	if strings.Contains(one.String(), "other") {
		t.Errorf("another key is printed:\n%s", one)
	}
	for line := range strings.Lines(one.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil || m["channel"] != "kafka" {
			t.Errorf("%s: %v", line, err)
		}
		if lag, _ := m["lag_seconds"].(float64); m["what"] == "event" && (m["version"] != 7.0 || lag < 3) {
			t.Errorf("got %s, want version 7, and a lag of 3 seconds", line)
		}
	}
}

// TestWatch_Redis needs a Redis that pushes keys which nobody has read.
func TestWatch_Redis(t *testing.T) {
	prefix := strings.ReplaceAll(servicestest.Unique("watch"), "-", "")
	env := map[string]string{"REDIS_URL": servicestest.Redis(t), "REDIS_PREFIX": prefix}
	store, err := l2.Open(l2.Config{Redis: optionOf(t, env), Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	outs := map[string]*testkit.Output{}
	for name, args := range map[string][]string{"all": nil, "namespace": {"n"}, "key": {"n:k"}} {
		outs[name] = watching(t, env, args...)
	}
	k, other, far := store.Keyspace().Key("n", "k"), store.Keyspace().Key("n", "kk"), store.Keyspace().Key("far", "k")
	// Until a record is seen by all, watching may not have begun.
	testkit.Eventually(t, "a record is printed by all", func() bool {
		put(t, store, k, l2.Record{Version: 7, Payload: []byte("1")})
		if err := store.Apply(t.Context(), k, 0); err != nil {
			t.Fatal(err)
		}
		for _, out := range outs {
			if !strings.Contains(out.String(), "record   n:k") {
				return false
			}
		}
		return true
	})
	put(t, store, other, l2.Record{Version: 8, Payload: []byte("1")})
	put(t, store, far, l2.Record{Version: 9, Absent: true})
	testkit.Eventually(t, "others are printed", func() bool {
		return strings.Contains(outs["all"].String(), "record   far:k  version 9  absence") &&
			strings.Contains(outs["all"].String(), "lease    n:kk") &&
			strings.Contains(outs["namespace"].String(), "record   n:kk  version 8  value")
	})
	if err := store.Apply(t.Context(), other, coherence.Version(9)); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the end of a record is printed", func() bool {
		return strings.Contains(outs["namespace"].String(), "record   n:kk  gone")
	})
	if s := outs["key"].String(); strings.Contains(s, "kk") || strings.Contains(s, "far") {
		t.Errorf("another key is printed:\n%s", s)
	}
	if s := outs["namespace"].String(); strings.Contains(s, "far") {
		t.Errorf("another namespace is printed:\n%s", s)
	}
}

// TestWatch_BothChannelsAndTheirProofs: a change that the relay carries, and how old at most the channels are.
func TestWatch_BothChannelsAndTheirProofs(t *testing.T) {
	url, pool, src := anybodys(t)
	brokers, env := onKafka(t, 1)
	redis := nearcachetest.NewRedis(t)
	env["DATABASE_URL"] = url
	must(t, env, "installed", installShelves...)
	p, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: brokers}, Topic: "topic"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out := watching(t, env, "shelf", "--every", "100ms")
	testkit.Eventually(t, "nothing is proved without a relay", func() bool {
		return strings.Contains(out.String(), "nothing is proved by kafka")
	})
	runRelay(t, src, redis, p)
	exec(t, pool, `update shelves set label = 'changed'`)
	testkit.Eventually(t, "the change and a proof are printed", func() bool {
		return strings.Contains(out.String(), "shelf:a:1  version 2  updated  lag") &&
			strings.Contains(out.String(), "kafka no older than")
	})
}

// TestDoctor_FindsATransactionThatHoldsReadersBack on the topic of the events.
func TestDoctor_FindsATransactionThatHoldsReadersBack(t *testing.T) {
	brokers := servicestest.Kafka(t)
	topic := servicestest.Topic(t, brokers, "doctor", 1)
	env := map[string]string{"KAFKA_BOOTSTRAP_SERVERS": strings.Join(brokers, ","), "KAFKA_PRODUCT_TOPIC": topic}
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := c.ProduceSync(t.Context(), &kgo.Record{Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	out := fails(t, env, 3, "wrong", "doctor") // the barriers are missing
	for _, want := range []string{"WARNING  kafka     transactions", "partition 0, 1 records",
		"WRONG    kafka     topic " +
			topic + ".barriers"} {
		if !strings.Contains(out, want) {
			t.Errorf("got\n%s\nwant %q", out, want)
		}
	}
	if err := c.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	// The coordinator answers before the brokers have written the transaction's markers.
	testkit.Eventually(t, "doctor sees that none is open", func() bool {
		return strings.Contains(fails(t, env, 3, "wrong", "doctor"), "none is open on "+topic)
	})
}
