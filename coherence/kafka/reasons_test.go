package kafka_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestTail_SaysWhyItDoesNotFollow: it logged nothing, at any level. It logs a reason once, however long that lasts.
func TestTail_SaysWhyItDoesNotFollow(t *testing.T) {
	broker := servicestest.StartKafka(t, "listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"sasl.enabled.mechanisms=PLAIN", "sasl.mechanism.inter.broker.protocol=PLAIN",
		"listener.name.plaintext.plain.sasl.jaas.config="+
			`org.apache.kafka.common.security.plain.PlainLoginModule required `+
			`username="user" password="right" user_user="right";`)
	with := func(password string) kafka.Broker {
		tr := &kafkago.Transport{SASL: plain.Mechanism{Username: "user", Password: password}}
		t.Cleanup(tr.CloseIdleConnections)
		return kafka.Broker{Brokers: broker.Brokers, Transport: tr}
	}
	for name, tail := range map[string]struct {
		kafka.Tail
		says          string
		misconfigured bool
	}{
		"a wrong password": {Tail: kafka.Tail{Broker: with("wrong"), Topic: "events"}, says: "SASL", misconfigured: true},
		"a missing topic":  {Tail: kafka.Tail{Broker: with("right"), Topic: "missing"}, says: "Unknown Topic"},
	} {
		log := &testkit.Output{}
		tail.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
		r := follow(t, tail.Tail)
		eventually(t, name+" is told again and again", func() bool { return len(r.of(-2)) >= 3 })
		if got := r.of(-2)[0]; !strings.HasPrefix(got, "failed -1: ") || !strings.Contains(got, tail.says) ||
			strings.Contains(got, coherence.ErrMisconfigured.Error()) != tail.misconfigured {
			t.Errorf("%s: %s", name, got)
		}
		if n := log.Count("is not followed"); n != 1 {
			t.Errorf("%s: logged %d times", name, n)
		}
		if err := tail.Ping(t.Context()); errors.Is(err, coherence.ErrMisconfigured) != tail.misconfigured {
			t.Errorf("%s: Ping: %v", name, err)
		}
	}
	if err := (kafka.Tail{Broker: with("right"), Topic: "missing"}).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestWorker_SaysWhyItDoesNotWork: a missing topic, at Warn and in Status.
func TestWorker_SaysWhyItDoesNotWork(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		log := &testkit.Output{}
		topic := servicestest.Unique("missing")
		w := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic, L2: &applier{},
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
		work(t, w)
		eventually(t, "its status says so", func() bool {
			s := w.Status()
			return len(s.Reasons) == 1 && s.Reasons[0].Code == "topic" && strings.Contains(s.Reasons[0].Text, "Unknown Topic")
		})
		eventually(t, "it is logged", func() bool { return log.Count("the worker does not get on") > 0 })
		if n := log.Count("the worker does not get on"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
