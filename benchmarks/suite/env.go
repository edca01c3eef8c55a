// Package suite holds the benchmarks. Each function of All measures one thing and returns a section of the report.
package suite

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// Env is the environment of the benchmarks. A server starts when a benchmark first asks for it.
type Env struct {
	Quick  bool
	Peers  []string      // the peers whose freshness is measured; empty: all
	Base   string        // the directory for the data of the servers
	Repo   string        // the root of the repository
	Old    string        // the git reference of the version that scale measures beside the working tree; empty: none
	Rounds int           // of scale
	Sizes  []int         // of the fleets that scale measures; empty: all
	Window time.Duration // for which scale counts
	Log    io.Writer

	servers  *local.Run
	redis    *local.Server
	postgres *local.Server
	kafka    *local.Server
	foreign  rueidis.Client
	names    atomic.Int64
}

// NewEnv makes the directory for the servers of this run.
func NewEnv(base string, quick bool, log io.Writer) (*Env, error) {
	if _, err := local.Sweep(base); err != nil {
		return nil, err
	}
	r, err := local.NewRun(base)
	if err != nil {
		return nil, err
	}
	return &Env{Quick: quick, Base: base, Log: log, servers: r}, nil
}

// Among returns the kinds that e.Peers selects.
func (e *Env) Among(kinds []string) []string {
	if len(e.Peers) == 0 {
		return kinds
	}
	return slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return !slices.Contains(e.Peers, k) })
}

// Close stops every server.
func (e *Env) Close() error {
	if e.foreign != nil {
		e.foreign.Close()
	}
	for _, s := range []*local.Server{e.redis, e.postgres, e.kafka} {
		if s != nil {
			s.Discard()
		}
	}
	return e.servers.Remove()
}

func (e *Env) dataDir(name string) (string, error) { return e.servers.Data(name) }

func (e *Env) record(r local.Record) {
	if err := e.servers.Note(r); err != nil {
		fmt.Fprintln(e.Log, err)
	}
}

// Redis returns the address of the Redis of this run.
func (e *Env) Redis(ctx context.Context) (string, error) {
	if e.redis != nil {
		return e.redis.Addr, nil
	}
	dir, err := e.dataDir("redis")
	if err != nil {
		return "", err
	}
	// By default Redis tracks a million keys and invalidates the rest. Peers that hold a million keys each could then
	// never hold them all.
	if e.redis, err = local.StartRedis(ctx, dir, local.Launch{Started: e.record}, "--tracking-table-max-keys",
		"0"); err != nil {
		return "", err
	}
	e.foreign, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{e.redis.Addr}, DisableCache: true})
	return e.redis.Addr, err
}

// Postgres returns the URL of the database of this run.
func (e *Env) Postgres(ctx context.Context) (string, error) {
	if e.postgres == nil {
		dir, err := e.dataDir("postgres")
		if err != nil {
			return "", err
		}
		if e.postgres, err = local.StartPostgres(ctx, dir, local.Launch{Started: e.record}); err != nil {
			return "", err
		}
	}
	return local.PostgresURL(e.postgres.Addr, "postgres"), nil
}

// Kafka returns the address of the broker of this run.
func (e *Env) Kafka(ctx context.Context) (string, error) {
	if e.kafka == nil {
		dir, err := e.dataDir("kafka")
		if err != nil {
			return "", err
		}
		jars, err := local.FetchKafka(ctx, e.Base, e.Log)
		if err != nil {
			return "", err
		}
		if e.kafka, err = local.StartKafka(ctx, dir, jars, local.Launch{Started: e.record}); err != nil {
			return "", err
		}
	}
	return e.kafka.Addr, nil
}

// Flush empties Redis.
func (e *Env) Flush(ctx context.Context) error {
	return e.foreign.Do(ctx, e.foreign.B().Flushall().Build()).Error()
}
