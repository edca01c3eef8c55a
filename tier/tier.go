package tier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// ErrUnavailable says that Redis could not be reached or did not answer. It wraps what the client library says.
var ErrUnavailable = l2.ErrUnavailable

// DefaultPrefix begins every Redis key when no prefix is configured.
const DefaultPrefix = l2.DefaultPrefix

// DefaultBuckets is the number of buckets of a prefix for which none is configured.
const DefaultBuckets = l2.DefaultBuckets

// CheckBuckets is the error of a Config.Buckets that is not allowed: it must be a power of two from 64 to 4,096, or 0.
func CheckBuckets(buckets int) error {
	_, err := l2.CheckBuckets(buckets)
	return err
}

// Config configures an L2.
type Config struct {
	// Redis is where to connect to. Required. The options that client-side caching depends on must be left unset, as in
	// nearcache.Config; but AlwaysRESP2 may be set.
	Redis rueidis.ClientOption
	// Prefix begins every Redis key. It must be that of the caches. Defaults to DefaultPrefix.
	Prefix string
	// Buckets is into how many parts Redis's keys are divided. It must be that of the caches. Defaults to
	// DefaultBuckets.
	Buckets int
	// Logger hears of lost and found connections. Defaults to discarding.
	Logger *slog.Logger
}

// L2 is a connection to the Redis tier. It is safe for concurrent use.
type L2 struct {
	engine *l2.L2
	shared bool
}

// Open connects to Redis. It waits for one second at most and then goes on connecting in the background; see Ready. The
// error is a misconfiguration. Close must be called.
func Open(cfg Config) (*L2, error) {
	engine, err := l2.Open(l2.Config{Redis: cfg.Redis, Prefix: cfg.Prefix, Buckets: cfg.Buckets, Logger: cfg.Logger})
	if err != nil {
		return nil, err
	}
	return &L2{engine: engine}, nil
}

// Share returns an L2 that uses a connection which belongs to another part of the program, and which Close leaves open.
// nearcache.Client.L2 calls it. Other programs have no Handle to give.
func Share(h l2.Handle) *L2 { return &L2{engine: l2.FromHandle(h), shared: true} }

// Handle is for the packages of this module: a relay applies changes through it. Other programs can do nothing with it.
func (l *L2) Handle() l2.Handle { return l.engine.Handle() }

// Describe implements prometheus.Collector: an L2 collects nearcache_redis_up and nearcache_redis_errors_total. That of
// a nearcache.Client is registered by the client.
func (l *L2) Describe(ch chan<- *prometheus.Desc) { l.engine.Describe(ch) }

// Collect implements prometheus.Collector.
func (l *L2) Collect(ch chan<- prometheus.Metric) { l.engine.Collect(ch) }

// Ready waits until Redis has been connected to. It returns ErrUnavailable when ctx ends before.
func (l *L2) Ready(ctx context.Context) error { return l.engine.Ready(ctx) }

// Close closes the connection. Commands under way fail. The L2 of a nearcache.Client stays open until the client is
// closed.
func (l *L2) Close() {
	if !l.shared {
		l.engine.Close()
	}
}

// Apply makes L2 drop every state of a key that is older than its event's version, in one pipeline for all events. An
// event of version 0 drops whatever L2 holds. Every instance of the near cache that has read such a key drops it too,
// for Redis pushes the change. Events may be applied late, twice, and in any order. An event of a truncated namespace
// makes every record of L2 a miss, unless L2 has applied its position already.
//
// After an error some of the events may have been applied, and all of them may be applied again. An event whose
// namespace no cache can have is not applied, and the error is then coherence.ErrMalformed; all others are.
func (l *L2) Apply(ctx context.Context, events ...coherence.Event) error {
	changes := make([]l2.Change, 0, len(events))
	var malformed error
	for _, e := range events {
		if err := e.Validate(); err != nil {
			malformed = errors.Join(malformed, err)
			continue
		}
		if e.Op == coherence.OpTruncated {
			if _, err := l.engine.ResetBefore(ctx, e.Position); err != nil {
				return fmt.Errorf("tier: apply: %w", err)
			}
			continue
		}
		changes = append(changes, l2.Change{Key: l.engine.Keyspace().Key(e.Namespace, e.Key), Version: e.Version})
	}
	if err := l.engine.ApplyMany(ctx, changes); err != nil {
		return fmt.Errorf("tier: apply: %w", errors.Join(err, malformed))
	}
	if malformed != nil {
		return fmt.Errorf("tier: apply: %w", malformed)
	}
	return nil
}
