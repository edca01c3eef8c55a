package l2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
)

// ErrUnavailable says that Redis could not be asked, or did not answer.
var ErrUnavailable = errors.New("tier: Redis is unavailable")

// L2 is Redis. Every method is one round trip in steady state, fails with ErrUnavailable at once while Redis is not
// connected, and is safe for concurrent use.
type L2 struct {
	keys      *Keyspace
	scripts   *scripts
	log       *slog.Logger
	clients   atomic.Pointer[clients]
	connected chan struct{}
	down      atomic.Bool // the last command failed
	rotates   bool        // credentials are asked for anew at each dial
	recent    *recent     // nil: a relay carries every change

	routes  *routes       // of the tracking connection; nil: nothing is tracked
	leaders atomic.Uint64 // a BucketSet: whose rounds the last reading named

	connecting, reads health // of dialling, and of the reads on the tracking connection; each script has its own
	errors            *faultCounts

	end context.CancelFunc
	wg  sync.WaitGroup
}

// L2Config configures an L2.
type Config struct {
	// Redis is where to connect to. Required. What the near cache depends on must be left unset.
	Redis rueidis.ClientOption
	// Prefix begins every Redis key; see coherence.CheckName. Defaults to DefaultPrefix.
	Prefix string
	// Tracker hears of pushes. Without one nothing is tracked: there is one connection, of RESP2 if Redis.AlwaysRESP2
	// says so, and records are read by a script. That suits a program that holds no cache, and a Redis that pushes
	// nothing.
	Tracker Tracker
	// Alone says that no relay carries changes to L2. Then an incarnation is one of the server's history, and recent
	// changes are told again to a server that took over; see adopt.go. It needs the right to INFO.
	Alone bool
	// Logger hears of lost and found connections. Defaults to discarding it.
	Logger *slog.Logger
}

// firstConnect bounds how long OpenL2 waits for Redis.
const firstConnect = time.Second

// OpenL2 connects to Redis; if that takes more than a second it goes on in the background. The error is a
// misconfiguration. Close must be called.
func Open(cfg Config) (*L2, error) {
	if err := checkOption(cfg.Redis, cfg.Tracker); err != nil {
		return nil, fmt.Errorf("tier: %w", err)
	}
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if err := coherence.CheckName(cfg.Prefix); err != nil {
		return nil, fmt.Errorf("tier: prefix %q %w", cfg.Prefix, err)
	}
	if strings.ContainsAny(cfg.Prefix, "\r\n") {
		return nil, fmt.Errorf("tier: prefix %q contains a line break", cfg.Prefix)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &L2{keys: NewKeyspace(cfg.Prefix), scripts: newScripts(), log: cfg.Logger, connected: make(chan struct{}),
		rotates: cfg.Redis.AuthCredentialsFn != nil, errors: newFaultCounts()}
	if cfg.Alone {
		l.recent = newRecent()
	}
	if cfg.Tracker != nil {
		l.routes = newRoutes(cfg.Prefix, cfg.Tracker)
	}
	l.countErrors()
	tracking, commands := options(cfg.Redis, l.routes, cfg.Tracker)
	if commands.AlwaysRESP2 && commands.ForceSingleClient {
		plain(&commands, l.keys)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.end = cancel
	first := make(chan struct{})
	var once sync.Once
	l.wg.Go(func() {
		warned := false
		keepConnecting(ctx, &l.clients, l.connected, func() (*clients, error) {
			c, err := connect(tracking, commands)
			l.connecting.note(err)
			return c, err
		}, func(err error) {
			if !warned {
				l.log.Warn("Redis is not reachable; trying on", "error", err)
				warned = true
			}
			once.Do(func() { close(first) })
		})
	})
	wait := time.NewTimer(firstConnect)
	defer wait.Stop()
	select {
	case <-l.connected:
	case <-first:
	case <-wait.C:
	}
	if err := l.refused(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// refused tries what the engine needs of Redis, if it is connected: a read with GETEX, and scripts that write. It
// returns an error for a fault that waiting does not mend. Every other one shows in Faults, and passes or does not.
func (l *L2) refused(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, firstConnect)
	defer stop()
	if c := l.clients.Load(); c != nil {
		l.tryCommands(ctx, c)
		if err := l.hiddenCluster(ctx, c); err != nil {
			return err
		}
	}
	for _, f := range l.Faults() {
		if f.Forever && !(l.rotates && f.Code == "redis_auth") {
			return fmt.Errorf("tier: %w: %s (%w)%s", coherence.ErrMisconfigured, f.Advice, f.Err, l.deniedBy(ctx, f))
		}
	}
	return nil
}

// Keyspace maps keys to Redis keys.
func (l *L2) Keyspace() *Keyspace { return l.keys }

// Up reports whether Redis is connected and takes writes, as far as the last commands tell.
func (l *L2) Up() bool { return l.clients.Load() != nil && !l.down.Load() && !l.refusesWrites() }

// Connected reports whether Redis has been connected to.
func (l *L2) Connected() bool { return l.clients.Load() != nil }

// Node stands for the node that the bucket's records are read from, as far as the last read tells: buckets of one node
// have equal ones. It is nil before the first read, and while nothing is tracked.
func (l *L2) Node(bucket int) any { return l.routes.node(bucket) }

// Ready waits until Redis has been connected to.
func (l *L2) Ready(ctx context.Context) error {
	select {
	case <-l.connected:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

// Close closes all connections. Commands under way fail.
func (l *L2) Close() {
	l.end()
	l.wg.Wait()
	if c := l.clients.Swap(nil); c != nil {
		c.close()
	}
}

// failed sorts an error: what Redis answered, or that it did not. It keeps Up and logs when that changes.
func (l *L2) failed(err error) error {
	if err == nil {
		l.up()
		return nil
	}
	if rueidis.IsRedisNil(err) {
		l.up()
		return nil
	}
	if _, ok := rueidis.IsRedisErr(err); !ok && !errors.Is(err, context.Canceled) &&
		l.down.CompareAndSwap(false, true) {
		l.log.Warn("Redis does not answer", "error", err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (l *L2) up() {
	if l.down.Load() && l.down.CompareAndSwap(true, false) {
		l.log.Info("Redis answers again")
	}
}

// Answered reports whether an error is what Redis has answered. Otherwise Redis was not reached, or did not answer.
func Answered(err error) bool {
	var answer *rueidis.RedisError
	return errors.As(err, &answer)
}
