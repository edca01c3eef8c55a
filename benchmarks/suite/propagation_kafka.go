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

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
)

const (
	notesNamespace = "notes"
	// tailWait is the default of kafka.Tail. The plain consumer uses it too.
	tailWait = 250 * time.Millisecond
)

// kafkaRun is what a measurement of propagation through Kafka consists of: a table with the library's trigger, its
// relay in this process, a topic for events and one for plain messages, and one instance in each worker process.
type kafkaRun struct {
	pool   *pgxpool.Pool
	source *postgres.Source
	key    string
	prefix string
	config kafkaConfig // of the observers
	times  writeTimes
	obs    *observations
	plain  *kafkago.Client
	cleanups
}

// measureKafka measures n commits whose events reach the instances through Kafka alone. Each is followed by a plain
// message, which shows the time that Kafka itself takes.
func (e *Env) measureKafka(ctx context.Context, n int) (times kafkaTimes, err error) {
	r := &kafkaRun{}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := e.openKafkaRun(ctx, r); err != nil {
		return times, err
	}
	obs, file, err := e.newObservations(processes)
	if err != nil {
		return times, err
	}
	r.obs = obs
	r.add(noError(func() { obs.close(file) }))
	workers, err := e.startWorkers(ctx, processes, "propagation", func(i int) any {
		return observerConfig{Observations: file, Processes: processes, Process: i, Pace: kafkaPace, Prefix: r.prefix,
			Kafka: &r.config}
	})
	if err != nil {
		return times, err
	}
	r.add(noError(workers.stop))
	for seq := uint64(1); seq <= uint64(n)+warmups; seq++ {
		if err := r.measureWrite(ctx, seq, &times); err != nil {
			return times, err
		}
	}
	return times, workers.run("end")
}

// openKafkaRun starts the services that are not running yet, the relay and the plain client.
func (e *Env) openKafkaRun(ctx context.Context, r *kafkaRun) error {
	addr, err := e.Redis(ctx)
	if err != nil {
		return err
	}
	r.prefix = fmt.Sprintf("s%d", e.names.Add(1))
	r.key = keyName(r.prefix, 0)
	r.config = kafkaConfig{Topic: r.prefix + "-events", Plain: r.prefix + "-plain", Schema: "propagation"}
	if r.config.Postgres, err = e.Postgres(ctx); err != nil {
		return err
	}
	if r.config.Broker, err = e.Kafka(ctx); err != nil {
		return err
	}
	if err := r.openTable(ctx); err != nil {
		return err
	}
	publisher, err := r.openTopic(ctx, r.config.Topic)
	if err != nil {
		return err
	}
	if _, err := r.openTopic(ctx, r.config.Plain); err != nil {
		return err
	}
	r.plain = &kafkago.Client{Addr: kafkago.TCP(r.config.Broker), Timeout: 5 * time.Second,
		Transport: &kafkago.Transport{ClientID: "plain"}}
	return r.startRelay(ctx, addr, publisher)
}

// openTable makes a table with one row and the library's trigger on it.
func (r *kafkaRun) openTable(ctx context.Context) (err error) {
	if r.pool, err = pgxpool.New(ctx, r.config.Postgres); err != nil {
		return err
	}
	r.add(noError(r.pool.Close))
	if r.source, err = postgres.New(r.pool, postgres.Config{Schema: r.config.Schema}); err != nil {
		return err
	}
	r.add(noError(r.source.Close))
	if err := r.source.Install(ctx); err != nil {
		return err
	}
	if _, err := r.pool.Exec(ctx, `drop table if exists notes`); err != nil {
		return err
	}
	if _, err := r.pool.Exec(ctx, `create table notes (id text primary key, seq bigint not null)`); err != nil {
		return err
	}
	if _, err := r.pool.Exec(ctx, `insert into notes values ($1, 0)`, r.key); err != nil {
		return err
	}
	return r.source.InstallTrigger(ctx, postgres.Trigger{Table: "notes", Namespace: notesNamespace,
		KeyColumns: []string{"id"}})
}

// openTopic creates a topic and returns a publisher to it.
func (r *kafkaRun) openTopic(ctx context.Context, topic string) (*kafka.Publisher, error) {
	p, err := kafka.NewPublisher(kafka.PublisherConfig{
		Broker: kafka.Broker{Brokers: []string{r.config.Broker}}, Topic: topic})
	if err != nil {
		return nil, err
	}
	r.add(noError(p.Close))
	return p, p.CreateTopic(ctx, topicPartitions, 1)
}

// startRelay runs a relay to Kafka and to Redis, as it would run for instances that have both channels.
func (r *kafkaRun) startRelay(ctx context.Context, redis string, publisher *kafka.Publisher) error {
	client, err := nearcache.New(nearcache.Config{
		Redis: rueidis.ClientOption{InitAddress: []string{redis}}, Prefix: r.prefix})
	if err != nil {
		return err
	}
	r.add(client.Close)
	relaying, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- relay.Relay{Source: timedSource{r.source, &r.times}, Publisher: timedPublisher{publisher, &r.times},
			L2: client.L2()}.Run(relaying)
	}()
	r.add(func() error { stop(); return <-ended })
	return nil
}

// measureWrite measures one commit and one plain message.
func (r *kafkaRun) measureWrite(ctx context.Context, seq uint64, times *kafkaTimes) error {
	var start time.Time
	s, err := r.obs.observe(seq, func() (int64, error) {
		r.times.clear()
		start = time.Now()
		err := pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `update notes set seq = $2 where id = $1`, r.key, int64(seq))
			return err
		})
		return time.Now().UnixNano(), err
	})
	if err != nil {
		return err
	}
	plain, err := r.obs.measurePlain(ctx, r.plain, r.config.Plain)
	if err != nil || seq <= warmups {
		return err
	}
	times.add(s, &r.times, plain)
	times.transaction = append(times.transaction, float64(s.start-start.UnixNano()))
	return nil
}

// plainTimes are the moments of a plain message, in nanoseconds.
type plainTimes struct{ sent, acknowledged, first, last int64 }

// measurePlain sends a message to the plain consumers with the settings of the relay's publisher, and waits until all
// of them have it.
func (b *observations) measurePlain(ctx context.Context, c *kafkago.Client, topic string) (t plainTimes, err error) {
	preciseSleep(obsLead)
	t.sent = time.Now().UnixNano()
	record := kafkago.Record{Key: kafkago.NewBytes([]byte("key")), Value: kafkago.NewBytes(make([]byte, 200)),
		Time: time.Now()}
	res, err := c.Produce(ctx, &kafkago.ProduceRequest{Topic: topic, Partition: 0, RequiredAcks: kafkago.RequireAll,
		Records: kafkago.NewRecordReader(record)})
	if err == nil {
		err = res.Error
	}
	if err != nil {
		return t, fmt.Errorf("suite: produce: %w", err)
	}
	t.acknowledged = time.Now().UnixNano()
	for deadline := time.Now().Add(observeTimeout); ; preciseSleep(100 * time.Microsecond) {
		if t.last = b.latest(obsPlain); t.last != 0 {
			t.first = int64(atomic.LoadUint64(b.at(0, obsPlain)))
			return t, nil
		}
		if time.Now().After(deadline) {
			return t, errors.New("suite: a plain message does not arrive")
		}
	}
}
