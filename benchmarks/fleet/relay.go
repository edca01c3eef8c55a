package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/tier"
)

// relaying is the process of the relay.
type relaying struct {
	pool      *pgxpool.Pool
	source    *postgres.Source
	l2        *tier.L2
	publisher *kafka.Publisher // nil without Kafka
	metrics   *prometheus.Registry
	traffic   kafkaTraffic
	stop      context.CancelFunc
	running   sync.WaitGroup
	failed    error // of the relay; read it after running
}

// startRelay installs the Source and its trigger, creates the topic, and starts the relay.
func startRelay(ctx context.Context, c Config) (_ process, err error) {
	r := &relaying{metrics: prometheus.NewRegistry(), stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.pool, err = pgxpool.New(ctx, c.Postgres); err != nil {
		return nil, err
	}
	if r.source, err = postgres.New(r.pool, postgres.Config{}); err != nil {
		return nil, err
	}
	if err := r.source.Install(ctx); err != nil {
		return nil, err
	}
	if err := r.source.InstallTrigger(ctx, postgres.Trigger{Table: Table, Namespace: Namespace,
		KeyColumns: []string{"id"}}); err != nil {
		return nil, err
	}
	if r.l2, err = tier.Open(tier.Config{Redis: rueidis.ClientOption{InitAddress: []string{c.Redis}},
		Prefix: c.Prefix}); err != nil {
		return nil, err
	}
	work := relay.Relay{Source: r.source, L2: r.l2, Registerer: r.metrics}
	if c.Kafka != "" {
		if r.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Broker: r.traffic.broker(c.Kafka),
			Topic: c.Topic}); err != nil {
			return nil, err
		}
		if err := r.publisher.CreateTopic(ctx, c.Partitions, 1); err != nil {
			return nil, err
		}
		work.Publisher = r.publisher
	}
	var runs context.Context
	runs, r.stop = context.WithCancel(ctx)
	r.running.Go(func() {
		if r.failed = work.Run(runs); r.failed != nil {
			fmt.Fprintln(os.Stderr, "fleet: the relay ended:", r.failed)
		}
	})
	return r, nil
}

func (r *relaying) do(_ context.Context, command string) error {
	if command != "count" {
		return fmt.Errorf("fleet: unknown command %q", command)
	}
	return nil
}

func (r *relaying) count() Counts {
	relayed := sum(r.metrics, "nearcache_relay_events_total", "channel")
	return Counts{ToRedis: relayed["redis"],
		ToKafka: relayed["events"] + relayed["kafka"], // the name in older versions, which scale measures too
		KafkaIn: float64(r.traffic.in.Load()), KafkaOut: float64(r.traffic.out.Load())}
}

func (r *relaying) close() error {
	r.stop()
	r.running.Wait()
	if r.publisher != nil {
		r.publisher.Close()
	}
	if r.l2 != nil {
		r.l2.Close()
	}
	if r.source != nil {
		r.source.Close()
	}
	if r.pool != nil {
		r.pool.Close()
	}
	return r.failed
}
