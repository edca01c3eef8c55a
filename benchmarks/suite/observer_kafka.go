package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/nearcache"
)

// kafkaConfig is what an instance needs that learns of changes through Kafka only.
type kafkaConfig struct {
	Broker   string
	Topic    string
	Plain    string // a topic for plain messages, which show the time that Kafka itself takes
	Postgres string
	Schema   string
}

// notes is a table whose one row is written and read.
type notes struct{ pool *pgxpool.Pool }

func (n notes) load(ctx context.Context, key string) (e nearcache.Entry[string], err error) {
	var seq, version int64
	err = n.pool.QueryRow(ctx,
		`select seq, propagation.version_of($2, id) from notes where id = $1`, key, notesNamespace).Scan(&seq, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nearcache.ErrNotFound
	}
	return nearcache.Entry[string]{Value: fmt.Sprintf("%016x", seq), Version: nearcache.Version(version)}, err
}

// openKafka opens an instance whose Redis does not answer: only Kafka shows that its entries are current, and only
// Kafka invalidates them.
func (w *observer) openKafka(ctx context.Context) error {
	k := w.c.Kafka
	cfg, err := pgxpool.ParseConfig(k.Postgres)
	if err != nil {
		return err
	}
	cfg.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return err
	}
	w.cleanups.add(noError(pool.Close))
	src, err := postgres.New(pool, postgres.Config{Schema: k.Schema})
	if err != nil {
		return err
	}
	w.cleanups.add(noError(src.Close))
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}},
		Prefix: w.c.Prefix, Source: src,
		Events: timedTail{kafka.Tail{Broker: kafka.Broker{Brokers: []string{k.Broker}}, Topic: k.Topic,
			MaxWait: tailWait}, w}})
	if err != nil {
		return err
	}
	w.cleanups.add(client.Close)
	cache, err := nearcache.NewCache(client, notesNamespace, nearcache.Options[string, string]{Load: notes{pool}.load,
		TTL: time.Hour})
	if err != nil {
		return err
	}
	w.read = reading(cache, w.key)
	consuming, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.consumePlain(consuming) }()
	w.cleanups.add(func() error { stop(); <-done; return nil })
	return nil
}

// timedTail records when an event is delivered to the instance.
type timedTail struct {
	tail kafka.Tail
	w    *observer
}

// Run implements coherence.EventSource.
func (s timedTail) Run(ctx context.Context, sink coherence.Sink) error {
	return s.tail.Run(ctx, timedSink{sink, s.w})
}

type timedSink struct {
	coherence.Sink
	w *observer
}

// Deliver implements coherence.Sink.
func (s timedSink) Deliver(ctx context.Context, p int, batch []coherence.Message) error {
	if carriesEvent(batch) {
		s.w.obs.recordOnce(s.w.c.Process, obsEvent)
	}
	return s.Sink.Deliver(ctx, p, batch)
}

func carriesEvent(batch []coherence.Message) bool {
	for i := range batch {
		if batch[i].Barrier == nil {
			return true
		}
	}
	return false
}

// consumePlain consumes the plain messages with the settings of kafka.Tail.
func (w *observer) consumePlain(ctx context.Context) {
	c := &kafkago.Client{Addr: kafkago.TCP(w.c.Kafka.Broker), Timeout: 5 * time.Second}
	var next int64
	for ctx.Err() == nil {
		res, err := c.Fetch(ctx, &kafkago.FetchRequest{Topic: w.c.Kafka.Plain, Partition: 0, Offset: next,
			MinBytes: 1, MaxBytes: 4 << 20, MaxWait: tailWait})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			preciseSleep(time.Millisecond)
			continue
		}
		for rec, err := res.Records.ReadRecord(); err == nil; rec, err = res.Records.ReadRecord() {
			if rec.Offset >= next {
				next = rec.Offset + 1
				w.obs.recordOnce(w.c.Process, obsPlain)
			}
		}
	}
}
