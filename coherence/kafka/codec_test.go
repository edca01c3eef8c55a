package kafka_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// fanOut is a codec for messages of several types: the header says the type, the value how many keys have changed. It
// names them after all that it is shown.
func fanOut() coherence.EventCodec {
	return coherence.EventCodec{Decode: func(r coherence.Record) (events []coherence.Event, err error) {
		if string(r.Header("type")) != "prices" {
			return nil, nil
		}
		if len(r.Value) != 8 || r.Time.IsZero() {
			return nil, errors.New("no number, or no time")
		}
		for i := range binary.BigEndian.Uint64(r.Value) {
			events = append(events, coherence.Event{Namespace: "n", Version: 1,
				Key: fmt.Sprintf("%s/%d@%d:%s#%d", r.Topic, r.Partition, r.Offset, r.Key, i)})
		}
		return events, nil
	}}
}

// sendPrices sends a record of another type, one of two keys, one of none, a malformed one, and one of a key.
func sendPrices(t *testing.T, brokers []string, topic string) (want []string) {
	t.Helper()
	log, err := kafka.OpenLog(kafka.Broker{Brokers: brokers}, topic)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	prices := coherence.Header{Key: "type", Value: []byte("prices")}
	orders := coherence.Header{Key: "type", Value: []byte("orders")}
	for _, m := range []struct {
		value   []byte
		headers []coherence.Header
	}{
		{[]byte("anything"), []coherence.Header{orders}},
		{binary.BigEndian.AppendUint64(nil, 2), []coherence.Header{orders, prices}},
		{binary.BigEndian.AppendUint64(nil, 0), []coherence.Header{prices}},
		{[]byte("short"), []coherence.Header{prices}},
		{binary.BigEndian.AppendUint64(nil, 1), []coherence.Header{prices}},
	} {
		if err := log.Send(t.Context(), 0, []byte("k"), m.value, m.headers...); err != nil {
			t.Fatal(err)
		}
	}
	return []string{topic + "/0@1:k#0 v1", topic + "/0@1:k#1 v1", topic + "/0@4:k#0 v1"}
}

// TestTail_CodecSeesTheRecord and may make several events of it, or none.
func TestTail_CodecSeesTheRecord(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Topic(t, brokers, t.Name(), 1)
		r := follow(t, kafka.Tail{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, Codec: fanOut(),
			MaxWait: 50 * time.Millisecond})
		eventually(t, "a session", func() bool { return len(r.of(0)) == 1 })
		want := sendPrices(t, brokers, topic)
		eventually(t, "the last one comes", func() bool { return slices.Contains(r.of(0), want[2]) })
		got := slices.DeleteFunc(r.of(0), func(s string) bool { return s == "session" || s == "malformed" })
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestWorker_CodecSeesTheRecord, and what it passes over is counted, and is no dead letter.
func TestWorker_CodecSeesTheRecord(t *testing.T) {
	onBoth(t, func(t *testing.T, brokers []string) {
		topic := servicestest.Topic(t, brokers, t.Name(), 1)
		want := sendPrices(t, brokers, topic)
		store, reg := &applier{}, prometheus.NewRegistry()
		work(t, &kafka.Worker{Broker: kafka.Broker{Brokers: brokers}, Topic: topic, GroupID: topic + "-g",
			Codec: fanOut(), L2: store, Registerer: reg})
		eventually(t, "all are applied", func() bool {
			return store.count(want[0]) == 1 && store.count(want[1]) == 1 && store.count(want[2]) == 1
		})
		eventually(t, "all are counted", func() bool {
			return metric(t, reg, "nearcache_worker_applied_total") == 3 &&
				metric(t, reg, "nearcache_worker_ignored_total") == 2 &&
				metric(t, reg, "nearcache_worker_malformed_total") == 1
		})
	})
}
