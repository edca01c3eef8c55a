package kafka_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// bearer is the mechanism of docs/guides/tokens.md: each connection asks for a token of its own.
type bearer struct {
	token func(context.Context) (string, error)
}

func (bearer) Name() string { return "OAUTHBEARER" }

func (b bearer) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	token, err := b.token(ctx)
	return b, []byte("n,,\x01auth=Bearer " + token + "\x01\x01"), err
}

func (bearer) Next(_ context.Context, challenge []byte) (done bool, response []byte, err error) {
	if len(challenge) > 0 {
		return false, nil, errors.New("the broker refuses the token: " + string(challenge))
	}
	return true, nil, nil
}

// The broker takes a token until it expires, and then closes the connection. What is published arrives all the same.
func TestTokens_OfABrokerExpire(t *testing.T) {
	broker := servicestest.StartKafka(t, "listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"sasl.enabled.mechanisms=OAUTHBEARER", "sasl.mechanism.inter.broker.protocol=OAUTHBEARER",
		"listener.name.plaintext.oauthbearer.connections.max.reauth.ms=1000",
		"listener.name.plaintext.oauthbearer.sasl.jaas.config="+
			`org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required `+
			`unsecuredLoginStringClaim_sub="broker";`)
	var asked atomic.Int64
	token := func(context.Context) (string, error) {
		n, now := asked.Add(1), time.Now().Unix()
		claims := fmt.Sprintf(`{"sub":"app","jti":"%d","iat":%d,"exp":%d}`, n, now, now+2)
		text := base64.RawURLEncoding.EncodeToString
		return text([]byte(`{"alg":"none"}`)) + "." + text([]byte(claims)) + ".", nil
	}
	tr := &kafkago.Transport{SASL: bearer{token}}
	t.Cleanup(tr.CloseIdleConnections)
	b := kafka.Broker{Brokers: broker.Brokers, Transport: tr}
	topic := servicestest.Unique("tokens")
	pub, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: b, Topic: topic})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pub.Close)
	eventually(t, "the topic is made", func() bool { return pub.CreateTopic(t.Context(), 1, 1) == nil })
	r := follow(t, kafka.Tail{Broker: b, Topic: topic, MaxWait: 50 * time.Millisecond})
	var published int
	publish := func() bool {
		err := pub.Publish(t.Context(), toPartition0(event(fmt.Sprint("key ", published), 1, uint64(published+1))))
		if err == nil {
			published++
		}
		return err == nil
	}
	eventually(t, "it takes messages", publish)
	first := asked.Load()
	eventually(t, "connections were made with five tokens more", func() bool { publish(); return asked.Load() >= first+5 })
	eventually(t, "and it takes messages", publish)
	want := fmt.Sprint("key ", published-1)
	eventually(t, "the last event arrives", func() bool { return slices.Contains(r.of(0), want+" v1") })
}
