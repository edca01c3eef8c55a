package operator

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
	"github.com/nearcache/nearcache-go/tier"
)

// hasRedis, hasDatabase and hasKafka say which services are configured.
func (t *tool) hasRedis() bool {
	return t.or(t.redis, "REDIS_URL") != "" || t.env("REDIS_HOST") != ""
}
func (t *tool) hasDatabase() bool { return t.or(t.database, "DATABASE_URL") != "" }
func (t *tool) hasKafka() bool    { return t.or(t.kafka, "KAFKA_BOOTSTRAP_SERVERS") != "" }

// prefixOf is the beginning of every Redis key.
func (t *tool) prefixOf() (string, error) {
	prefix := t.or(t.prefix, "REDIS_PREFIX")
	if prefix == "" {
		prefix = tier.DefaultPrefix
	}
	if err := coherence.CheckName(prefix); err != nil {
		return "", usage("the prefix %.40q %w", prefix, err)
	}
	return prefix, nil
}

// bucketsOf is the number of buckets.
func (t *tool) bucketsOf() (n int, err error) {
	text := t.or(t.buckets, "REDIS_BUCKETS")
	if text == "" {
		return tier.DefaultBuckets, nil
	}
	if n, err = strconv.Atoi(text); err == nil {
		n, err = l2.CheckBuckets(n)
	}
	if err != nil {
		return 0, usage("--buckets is %.40q: %w", text, l2.ErrBuckets)
	}
	return n, nil
}

func (t *tool) redisOption() (opt rueidis.ClientOption, err error) {
	address := t.or(t.redis, "REDIS_URL")
	switch host := t.env("REDIS_HOST"); {
	case address != "":
		if opt, err = endpoint.Redis(address); err != nil {
			return opt, usage("--redis: %w", err)
		}
	case host != "":
		port := t.env("REDIS_PORT")
		if port == "" {
			port = "6379"
		}
		if opt, err = endpoint.RedisAt(host, port); err != nil {
			return opt, usage("REDIS_PORT: %w", err)
		}
	default:
		return opt, usage("--redis or REDIS_URL is needed")
	}
	return opt, nil
}

// openTier connects to Redis, within --timeout also for a command that goes on for longer.
func (t *tool) openTier(ctx context.Context) (*tier.L2, error) {
	opt, err := t.redisOption()
	if err != nil {
		return nil, err
	}
	prefix, err := t.prefixOf()
	if err != nil {
		return nil, err
	}
	buckets, err := t.bucketsOf()
	if err != nil {
		return nil, err
	}
	store, err := tier.Open(tier.Config{Redis: opt, Prefix: prefix, Buckets: buckets})
	if err != nil {
		return nil, err
	}
	reach, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	if err := store.Ready(reach); err != nil {
		err = errors.Join(err, faultsOf(l2.FromHandle(store.Handle())))
		store.Close()
		return nil, fmt.Errorf("cannot reach Redis: %w", err)
	}
	return store, nil
}

// faultsOf is what Redis says is wrong, nil if nothing is known.
func faultsOf(engine *l2.L2) (err error) {
	for _, f := range engine.Faults() {
		if f.Err == nil {
			err = errors.Join(err, errors.New(f.Advice))
			continue
		}
		err = errors.Join(err, fmt.Errorf("%s (%w)", f.Advice, f.Err))
	}
	return err
}

// openEngine is openTier for a command that needs more of Redis than tier offers. Call close.
func (t *tool) openEngine(ctx context.Context) (engine *l2.L2, closeIt func(), err error) {
	store, err := t.openTier(ctx)
	if err != nil {
		return nil, nil, err
	}
	return l2.FromHandle(store.Handle()), store.Close, nil
}

// openSource opens the database; nothing need be reachable yet. Call closeIt.
func (t *tool) openSource(ctx context.Context) (src *postgres.Source, pool *pgxpool.Pool, closeIt func(), err error) {
	address := t.or(t.database, "DATABASE_URL")
	if address == "" {
		return nil, nil, nil, usage("--database or DATABASE_URL is needed")
	}
	if _, file := endpoint.SQLite(address); file {
		return nil, nil, nil, usage("--database: the tool works on Postgres, and this is SQLite")
	}
	cfg, err := endpoint.Postgres(address)
	if err != nil {
		return nil, nil, nil, usage("--database: %w", err)
	}
	cfg.MaxConns = 2
	cfg.ConnConfig.RuntimeParams["application_name"] = "nearcache"
	if pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, nil, nil, errors.New("the database cannot be opened")
	}
	settings := postgres.Config{Schema: t.schema, WithoutNotify: t.withoutNotify, TruncateRows: t.truncateRows}
	if src, err = postgres.New(pool, settings); err != nil {
		pool.Close()
		return nil, nil, nil, usage("%w", err)
	}
	return src, pool, func() { src.Close(); pool.Close() }, nil
}

// topicOf is the topic of the events.
func (t *tool) topicOf() string {
	if topic := t.or(t.topic, "KAFKA_PRODUCT_TOPIC"); topic != "" {
		return topic
	}
	return "product_events"
}

// barrierTopicOf is the topic of the barriers.
func (t *tool) barrierTopicOf() string {
	if topic := t.or(t.barriers, "KAFKA_BARRIER_TOPIC"); topic != "" && topic != "auto" {
		return topic
	}
	return kafka.BarrierTopic(t.topicOf())
}

func (t *tool) broker() (b kafka.Broker, err error) {
	if !t.hasKafka() {
		return b, usage("--kafka or KAFKA_BOOTSTRAP_SERVERS is needed")
	}
	if b.Brokers, err = endpoint.Brokers(t.or(t.kafka, "KAFKA_BOOTSTRAP_SERVERS")); err != nil {
		return b, usage("--kafka: %w", err)
	}
	b.Transport, err = endpoint.KafkaSecurity{Protocol: t.env("KAFKA_SECURITY_PROTOCOL"),
		Mechanism: t.env("KAFKA_SASL_MECHANISM"), User: t.env("KAFKA_SASL_USERNAME"),
		Password: t.env("KAFKA_SASL_PASSWORD"), CAFile: t.env("KAFKA_SSL_CA_FILE"),
		CertFile: t.env("KAFKA_SSL_CERT_FILE"), KeyFile: t.env("KAFKA_SSL_KEY_FILE")}.Transport()
	if err != nil {
		return b, usage("%w", err)
	}
	return b, nil
}

// openLog opens a topic.
func (t *tool) openLog(topic string) (*kafka.Log, error) {
	b, err := t.broker()
	if err != nil {
		return nil, err
	}
	log, err := kafka.OpenLog(b, topic)
	if err != nil {
		return nil, usage("%w", err)
	}
	return log, nil
}
