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
	rotates   bool    // credentials are asked for anew at each dial
	sentinel  bool    // Sentinels say which server is the primary
	recent    *recent // nil: a relay carries every change

	routes  *routes // of the tracking connection; of the commands connection if nothing is tracked
	nodes   *nodes
	leaders atomic.Pointer[BucketSet] // whose rounds the last reading named; nil: nothing was read

	connecting health // of the first connection
	errors     *faultCounts
	onAnswer   func(*Node)
	joined     atomic.Uint64 // reads that went in the pipeline of another
	members    sync.Pool     // *getMember
	onYield    func()        // of tests: stands for a turn of the other goroutines

	end context.CancelFunc
	wg  sync.WaitGroup
}

// L2Config configures an L2.
type Config struct {
	// Redis is where to connect to. Required. What the near cache depends on must be left unset.
	Redis rueidis.ClientOption
	// Prefix begins every Redis key; see coherence.CheckName. Defaults to DefaultPrefix.
	Prefix string
	// Buckets is the number of buckets; see CheckBuckets. All programs of a prefix must have the same one.
	Buckets int
	// Tracker hears of pushes. Without one nothing is tracked: there is one connection, of RESP2 if Redis.AlwaysRESP2
	// says so, and records are read by a script. That suits a program that holds no cache, and a Redis that pushes
	// nothing.
	Tracker Tracker
	// Answers is called when a node answers that did not before. It must not block. Defaults to nothing.
	Answers func(*Node)
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
	n, err := CheckBuckets(cfg.Buckets)
	if err != nil {
		return nil, fmt.Errorf("tier: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &L2{keys: NewKeyspaceOf(cfg.Prefix, n), scripts: newScripts(), log: cfg.Logger, connected: make(chan struct{}),
		rotates: cfg.Redis.AuthCredentialsFn != nil, sentinel: cfg.Redis.Sentinel.MasterSet != "",
		errors: newFaultCounts(), onAnswer: cfg.Answers}
	l.routes = newRoutes(l.keys, cfg.Tracker)
	l.nodes = newNodes(opScripts + len(l.scripts.all()))
	if cfg.Alone {
		l.recent = newRecent(n)
	}
	tracking, commands := l.options(cfg.Redis)
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
			if err == nil {
				if err = l.refusesBuckets(ctx, c); err != nil {
					c.close()
				}
			}
			l.connecting.note(err, l.errors)
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

// Up reports whether Redis is connected, and one of its nodes at least answers and takes writes, as far as the last
// commands tell.
func (l *L2) Up() bool { return l.clients.Load() != nil && l.anyWrites() }

// Connected reports whether Redis has been connected to.
func (l *L2) Connected() bool { return l.clients.Load() != nil }

// Fills reports whether the bucket's node answers, and takes writes, as far as the last commands tell.
func (l *L2) Fills(bucket int) bool { return l.clients.Load() != nil && l.Node(bucket).writes() }

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

// Answered reports whether an error is what Redis has answered. Otherwise Redis was not reached, or did not answer.
func Answered(err error) bool {
	var answer *rueidis.RedisError
	return errors.As(err, &answer)
}
