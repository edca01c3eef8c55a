package suite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"
	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
)

// streaming is what an instance needs that hears of changes through Kafka alone.
type streaming struct {
	Broker   string
	Topic    string
	Plain    string // another topic like it, for Kafka's own time
	Postgres string
	Schema   string
}

const (
	notesNamespace = "notes"
	// tailWait is Tail's default, which the plain consumer uses too.
	tailWait = 250 * time.Millisecond
)

// notes is a table whose one row is written and read.
type notes struct{ pool *pgxpool.Pool }

func (n notes) load(ctx context.Context, key string) (e nearcache.Entry[string], err error) {
	var seq, version int64
	err = n.pool.QueryRow(ctx, `select n.seq, coalesce(v.version, 0) from notes n left join propagation.versions v on v.namespace = $2 and v.key = n.id where n.id = $1`,
		key, notesNamespace).Scan(&seq, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nearcache.ErrNotFound
	}
	return nearcache.Entry[string]{Value: fmt.Sprintf("%016x", seq), Version: nearcache.Version(version)}, err
}

// openStreaming is an instance whose Redis does not answer: what it has near is vouched for by Kafka, and evicted by
// Kafka.
func (w *watcher) openStreaming(ctx context.Context) error {
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
	w.ends = append(w.ends, pool.Close)
	src, err := postgres.New(pool, postgres.Config{Schema: k.Schema})
	if err != nil {
		return err
	}
	w.ends = append(w.ends, src.Close)
	client, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, Prefix: w.c.Prefix, Source: src,
		Events: stampedTail{kafka.Tail{Broker: kafka.Broker{Brokers: []string{k.Broker}}, Topic: k.Topic, MaxWait: tailWait}, w}})
	if err != nil {
		return err
	}
	w.ends = append(w.ends, func() { _ = client.Close() })
	cache, err := nearcache.NewCache(client, notesNamespace, nearcache.Options[string, string]{Load: notes{pool}.load, TTL: time.Hour})
	if err != nil {
		return err
	}
	w.read = reading(cache, w.key)
	consuming, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.consume(consuming) }()
	w.ends = append(w.ends, func() { stop(); <-done })
	return nil
}

// stampedTail notes when an event is handed to the instance.
type stampedTail struct {
	tail kafka.Tail
	w    *watcher
}

// Run implements coherence.EventSource.
func (s stampedTail) Run(ctx context.Context, sink coherence.Sink) error {
	return s.tail.Run(ctx, stampedSink{sink, s.w})
}

type stampedSink struct {
	coherence.Sink
	w *watcher
}

// Deliver implements coherence.Sink.
func (s stampedSink) Deliver(ctx context.Context, p int, batch []coherence.Message) error {
	if carriesEvent(batch) {
		s.w.board.first(s.w.c.Process, boardEvent)
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

// consume is a plain consumer with Tail's settings.
func (w *watcher) consume(ctx context.Context) {
	c := &kafkago.Client{Addr: kafkago.TCP(w.c.Kafka.Broker), Timeout: 5 * time.Second}
	var next int64
	for ctx.Err() == nil {
		res, err := c.Fetch(ctx, &kafkago.FetchRequest{Topic: w.c.Kafka.Plain, Partition: 0, Offset: next, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: tailWait})
		if err == nil {
			err = res.Error
		}
		if err != nil {
			nap(time.Millisecond)
			continue
		}
		for rec, err := res.Records.ReadRecord(); err == nil; rec, err = res.Records.ReadRecord() {
			if rec.Offset >= next {
				next = rec.Offset + 1
				w.board.first(w.c.Process, boardRaw)
			}
		}
	}
}

// stamps are moments of one write in the driver's process.
type stamps struct{ woken, sent, acked atomic.Int64 }

func (s *stamps) clear() { s.woken.Store(0); s.sent.Store(0); s.acked.Store(0) }

func firstNow(at *atomic.Int64) { at.CompareAndSwap(0, time.Now().UnixNano()) }

// stampedSource notes when the database's notification came.
type stampedSource struct {
	*postgres.Source
	at *stamps
}

// Wait implements coherence.Waker.
func (s stampedSource) Wait(ctx context.Context, d time.Duration) error {
	err := s.Source.Wait(ctx, d)
	firstNow(&s.at.woken)
	return err
}

// stampedPublisher notes when a change is produced, and when the broker has acknowledged it.
type stampedPublisher struct {
	*kafka.Publisher
	at *stamps
}

// Publish implements coherence.Publisher.
func (p stampedPublisher) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	event := false
	for i := range batch {
		event = event || batch[i].Barrier == nil
	}
	if event {
		firstNow(&p.at.sent)
	}
	err := p.Publisher.Publish(ctx, batch)
	if event && err == nil {
		firstNow(&p.at.acked)
	}
	return err
}

// streamed are the durations of many writes.
type streamed struct {
	old, new, produced, transaction          []float64
	woken, sent, acked, delivered, noticed   []float64 // each since the one before
	plainFirst, plainLast, plainAcknowledged []float64
	fails                                    uint64
}

// throughKafka has n commits come to instances by Kafka alone, with a plain message after each.
func (e *Env) throughKafka(ctx context.Context, n int) (r streamed, err error) {
	url, err := e.Postgres(ctx)
	if err != nil {
		return r, err
	}
	addr, err := e.Redis(ctx)
	if err != nil {
		return r, err
	}
	broker, err := e.Kafka(ctx)
	if err != nil {
		return r, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return r, err
	}
	defer pool.Close()
	pg, err := postgres.New(pool, postgres.Config{Schema: "propagation"})
	if err != nil {
		return r, err
	}
	defer pg.Close()
	if err := pg.Install(ctx); err != nil {
		return r, err
	}
	prefix := fmt.Sprintf("s%d", e.names.Add(1))
	key := keyName(prefix, 0)
	if _, err := pool.Exec(ctx, `drop table if exists notes; create table notes (id text primary key, seq bigint not null)`); err != nil {
		return r, err
	}
	if _, err := pool.Exec(ctx, `insert into notes values ($1, 0)`, key); err != nil {
		return r, err
	}
	if err := pg.InstallTrigger(ctx, postgres.Trigger{Table: "notes", Namespace: notesNamespace, KeyColumns: []string{"id"}}); err != nil {
		return r, err
	}
	events, plain := prefix+"-events", prefix+"-plain"
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: []string{broker}}, Topic: events})
	if err != nil {
		return r, err
	}
	defer publisher.Close()
	if err := publisher.CreateTopic(ctx, topicPartitions, 1); err != nil {
		return r, err
	}
	other, err := kafka.NewPublisher(kafka.PublisherConfig{Broker: kafka.Broker{Brokers: []string{broker}}, Topic: plain})
	if err != nil {
		return r, err
	}
	defer other.Close()
	if err := other.CreateTopic(ctx, topicPartitions, 1); err != nil {
		return r, err
	}

	// The relay has both its ways, as it would with instances that hear Redis.
	at := &stamps{}
	l2, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{addr}}, Prefix: prefix})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l2.Close()) }()
	relaying, stop := context.WithCancel(ctx)
	relayed := make(chan error, 1)
	go func() {
		relayed <- relay.Relay{Source: stampedSource{pg, at}, Publisher: stampedPublisher{publisher, at}, L2: l2.L2()}.Run(relaying)
	}()
	defer func() { stop(); err = errors.Join(err, <-relayed) }()

	b, file, err := e.newBoard(processes)
	if err != nil {
		return r, err
	}
	defer b.close(file)
	crew, err := e.hire(ctx, processes, "propagation", func(i int) any {
		return watching{Board: file, Processes: processes, Process: i, Pace: kafkaPace, Prefix: prefix,
			Kafka: &streaming{Broker: broker, Topic: events, Plain: plain, Postgres: url, Schema: "propagation"}}
	})
	if err != nil {
		return r, err
	}
	defer crew.dismiss()
	raw := &kafkago.Client{Addr: kafkago.TCP(broker), Timeout: 5 * time.Second, Transport: &kafkago.Transport{ClientID: "plain"}}
	for seq := uint64(1); seq <= uint64(n)+warmups; seq++ {
		var began time.Time
		s, err := b.watch(seq, func() (int64, error) {
			at.clear()
			began = time.Now()
			err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `update notes set seq = $2 where id = $1`, key, int64(seq))
				return err
			})
			return time.Now().UnixNano(), err
		})
		if err != nil {
			return r, err
		}
		begun, acked, first, last, err := b.plain(ctx, raw, plain)
		if err != nil {
			return r, err
		}
		if seq <= warmups {
			continue
		}
		r.fails += s.fails
		// A change can be produced before its writer has heard that it is committed.
		woken, sent, produced := s.since(at.woken.Load()), s.since(at.sent.Load()), s.since(at.acked.Load())
		last0 := max(s.new, s.old)
		for _, x := range []struct {
			to *[]float64
			v  float64
		}{{&r.old, s.old}, {&r.new, last0}, {&r.produced, last0 - sent}, {&r.transaction, float64(s.begun - began.UnixNano())},
			{&r.woken, woken}, {&r.sent, sent - woken}, {&r.acked, produced - sent}, {&r.delivered, s.event - sent}, {&r.noticed, last0 - s.event},
			{&r.plainFirst, float64(first - begun)}, {&r.plainLast, float64(last - begun)}, {&r.plainAcknowledged, float64(acked - begun)}} {
			*x.to = append(*x.to, x.v)
		}
	}
	return r, crew.tell("end")
}

const (
	topicPartitions = 4
	warmups         = 20 // writes that are not counted
	kafkaPace       = 200 * time.Microsecond
)

// plain has a message of its own go to the plain consumers, produced as the relay's publisher produces. It returns when it was sent,
// acknowledged, and there on the first process and on the last.
func (b *board) plain(ctx context.Context, c *kafkago.Client, topic string) (begun, acked, first, last int64, err error) {
	nap(boardLead)
	begun = time.Now().UnixNano()
	res, err := c.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, Partition: 0, RequiredAcks: kafkago.RequireAll,
		Records: kafkago.NewRecordReader(kafkago.Record{Key: kafkago.NewBytes([]byte("key")), Value: kafkago.NewBytes(make([]byte, 200)), Time: time.Now()})})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return 0, 0, 0, 0, fmt.Errorf("suite: produce: %w", err)
	}
	acked = time.Now().UnixNano()
	for deadline := time.Now().Add(patience); ; nap(100 * time.Microsecond) {
		if last = b.last(boardRaw); last != 0 {
			return begun, acked, int64(atomic.LoadUint64(b.at(0, boardRaw))), last, nil
		}
		if time.Now().After(deadline) {
			return 0, 0, 0, 0, errors.New("suite: a plain message does not arrive")
		}
	}
}

// kafkaTables are the figures of it.
func (e *Env) kafkaTables(ctx context.Context, n int, s *measure.Section) error {
	r, err := e.throughKafka(ctx, n)
	if err != nil {
		return fmt.Errorf("through Kafka: %w", err)
	}
	base := [2][]float64{r.plainFirst, r.plainLast}
	t := measure.Table{Title: "Kafka alone, from the commit's answer to the last old value", Columns: propagationColumns("produce-to-consume")}
	for _, x := range []struct {
		name string
		xs   []float64
		over bool
	}{{"Kafka's own produce-to-consume", r.plainFirst, false}, {"  by the last of as many consumers", r.plainLast, false},
		{"commit to the first read of the new value", r.new, true}, {"  to the last read of the old value", r.old, true}, {"relay's produce to the first read of the new value", r.produced, true}} {
		t.Rows = append(t.Rows, propagationRow(x.name, x.xs, x.over, base))
	}
	split := measure.Table{Title: "Where the time goes between the commit and the last instance", Columns: []string{"", "p50", "p99", "p99.9", "max"}}
	for _, x := range []struct {
		name string
		xs   []float64
	}{{"the transaction itself, before the commit's answer", r.transaction}, {"commit's answer to the relay's hearing of it (negative: before)", r.woken},
		{"to its producing: one query of the outbox, and a round that was under way", r.sent}, {"producing to its acknowledgement", r.acked}, {"producing to the delivery on the last instance", r.delivered},
		{"delivery to the first read of the new value", r.noticed}, {"Kafka's own: producing to its acknowledgement", r.plainAcknowledged}} {
		split.Rows = append(split.Rows, propagationRow(x.name, x.xs, false, base)[:5])
	}
	s.Tables = append(s.Tables, t, split)
	s.Figures["kafka"] = quantile(r.new, 0.99) / quantile(r.plainFirst, 0.99)
	s.Figures["kafka_produced"] = quantile(r.produced, 0.99) / quantile(r.plainFirst, 0.99)
	if r.fails > 0 {
		s.Figures["kafka_failed_reads"] = float64(r.fails)
	}
	return nil
}
