package kafka_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// guarded is a real broker with an authorizer. The user "guest" may do what is allowed to it, and no more.
type guarded struct {
	t       *testing.T
	brokers []string
}

func guardedKafka(t *testing.T) *guarded {
	t.Helper()
	broker := servicestest.StartKafka(t, "listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"sasl.enabled.mechanisms=PLAIN", "sasl.mechanism.inter.broker.protocol=PLAIN",
		"listener.name.plaintext.plain.sasl.jaas.config="+
			`org.apache.kafka.common.security.plain.PlainLoginModule required `+
			`username="user" password="right" user_user="right" user_guest="right";`,
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users=User:user;User:ANONYMOUS")
	return &guarded{t, broker.Brokers}
}

func (g *guarded) as(user string) kafka.Broker {
	tr := &kafkago.Transport{SASL: plain.Mechanism{Username: user, Password: "right"}}
	g.t.Cleanup(tr.CloseIdleConnections)
	return kafka.Broker{Brokers: g.brokers, Transport: tr}
}

// allow gives guest a right.
func (g *guarded) allow(kind kafkago.ResourceType, name string, op kafkago.ACLOperationType) {
	g.t.Helper()
	client := &kafkago.Client{Addr: kafkago.TCP(g.brokers...), Transport: g.as("user").Transport}
	res, err := client.CreateACLs(g.t.Context(), &kafkago.CreateACLsRequest{ACLs: []kafkago.ACLEntry{{
		ResourceType: kind, ResourceName: name, ResourcePatternType: kafkago.PatternTypeLiteral,
		Principal: "User:guest", Host: "*", Operation: op, PermissionType: kafkago.ACLPermissionTypeAllow}}})
	if err == nil {
		err = errors.Join(res.Errors...)
	}
	if err != nil {
		g.t.Fatal(err)
	}
}

// TestRights: each right that is missing is said, at Warn and by a reason, and by Ping where waiting does not help.
func TestRights(t *testing.T) {
	g := guardedKafka(t)
	topic := servicestest.Unique("guarded")
	pub, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: g.as("user"), Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pub.Close)
	eventually(t, "the topic is made", func() bool { return pub.CreateTopic(t.Context(), 1, 1) == nil })
	eventually(t, "it takes messages", func() bool {
		return pub.Publish(t.Context(), toPartition0(event("a", 1, 1), barrierAt(1, 1))) == nil
	})
	log := &testkit.Output{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	tail := kafka.Tail{Broker: g.as("guest"), Topic: topic, Logger: logger, MaxWait: 50 * time.Millisecond}
	group := topic + "-group"
	worker := &kafka.Worker{Broker: g.as("guest"), Topic: topic, GroupID: group, L2: &applier{}, Logger: logger}
	r := follow(t, tail)
	work(t, worker)
	reason := func(code string) {
		t.Helper()
		eventually(t, "the worker's reason is "+code, func() bool {
			return slices.ContainsFunc(worker.Status().Reasons, func(r kafka.WorkerReason) bool {
				return r.Code == code && strings.Contains(r.Text, coherence.ErrMisconfigured.Error())
			})
		})
	}
	refused := func(what string, part int) {
		t.Helper()
		eventually(t, what, func() bool {
			return slices.ContainsFunc(r.of(-2), func(s string) bool {
				return strings.HasPrefix(s, fmt.Sprintf("failed %d: ", part)) &&
					strings.Contains(s, coherence.ErrMisconfigured.Error())
			})
		})
		if err := tail.Ping(t.Context()); !errors.Is(err, coherence.ErrMisconfigured) {
			t.Errorf("%s: Ping: %v", what, err)
		}
	}

	refused("the topic may not be seen", -1)
	reason("topic")
	g.allow(kafkago.ResourceTypeTopic, topic, kafkago.ACLOperationTypeDescribe)
	refused("the topic may not be read", 0)
	reason("group")
	g.allow(kafkago.ResourceTypeGroup, group, kafkago.ACLOperationTypeRead)
	reason("fetch")
	g.allow(kafkago.ResourceTypeTopic, topic, kafkago.ACLOperationTypeRead)
	eventually(t, "the topic is followed", func() bool { return slices.Contains(r.of(0), "session") })
	if err := tail.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
	eventually(t, "the worker works", func() bool { return len(worker.Status().Reasons) == 0 })
	eventually(t, "the barriers' topic may not be read", func() bool {
		return log.Count("barriers are not followed") == 1
	})
	g.allow(kafkago.ResourceTypeTopic, kafka.BarrierTopic(topic), kafkago.ACLOperationTypeRead)
	eventually(t, "its barriers are taken", func() bool { return slices.Contains(r.of(0), "barrier at 1") })
	if log.Count("is not followed") == 0 || log.Count("the worker does not get on") < 3 {
		t.Errorf("%d and %d lines", log.Count("is not followed"), log.Count("the worker does not get on"))
	}
}
