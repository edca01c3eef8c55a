package kafka_test

import (
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// transactions sends each group of values to a topic in a transaction of its own, and aborts those of the odd groups.
func transactions(t *testing.T, brokers []string, topic string, groups ...[]string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID(topic), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, values := range groups {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if err := c.ProduceSync(t.Context(), &kgo.Record{Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.EndTransaction(t.Context(), kgo.TransactionEndTry(i%2 == 0)); err != nil {
			t.Fatal(err)
		}
	}
}

var someTransactions = [][]string{{`{"namespace":"n","key":"a"}`, `{"namespace":"n","key":"b"}`},
	{`{"namespace":"n","key":"aborted","version":99}`},
	{`{"namespace":"n","key":"c"}`}, {`{"namespace":"n","key":"aborted","version":99}`}}

// TestTail_Transactions: each control record ended a session, one at the end was asked for without a pause, and
// aborted events were delivered.
func TestTail_Transactions(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("txn")
		p := publisher(t, brokers, topic, 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		transactions(t, brokers, topic, someTransactions...)
		if err := p.Publish(t.Context(), toPartition0(event("plain", 1, 1), barrierAt(1, 1))); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all of it comes", func() bool { return slices.Contains(r.of(0), "barrier at 1") })
		if got, want := r.of(0), []string{"session", "a v0", "b v0", "c v0", "plain v1",
			"barrier at 1"}; !slices.Equal(got, want) {
			t.Errorf("%v\nwant %v", got, want)
		}
	})
}

// TestWorker_Transactions: control records went to the dead-letter topic, and aborted events to Redis.
func TestWorker_Transactions(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Unique("txn")
		publisher(t, brokers, topic, 1)
		transactions(t, brokers, topic, someTransactions...)
		store, reg := &applier{}, prometheus.NewRegistry()
		w := &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g", L2: store,
			Registerer: reg}
		stop := work(t, w)
		eventually(t, "it applies what was committed", func() bool {
			return store.count("a v0") == 1 &&
				store.count("b v0") == 1 && store.count("c v0") == 1
		})
		eventually(t, "it has nothing left to do, behind the control records too", func() bool {
			s := w.Status()
			return s.Lag == 0 && s.Partitions == 1 && len(s.Reasons) == 0
		})
		if n := store.count("aborted v99") + int(metric(t, reg, "nearcache_worker_malformed_total")); n > 0 {
			t.Errorf("%d aborted or malformed", n)
		}
		stop()
	})
}

// metric is the value of a counter or gauge without labels, -1 if there is none.
func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return -1
}
