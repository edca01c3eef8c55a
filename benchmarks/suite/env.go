// Package suite has the benchmarks themselves: each function of All measures one thing and returns a section of the report.
package suite

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// Env is what the benchmarks run on. Servers are started when they are first asked for.
type Env struct {
	Quick bool
	Peers []string // freshness is of these alone; none: of all
	Base  string   // where servers keep their data
	Log   io.Writer

	servers  *local.Run
	redis    *local.Server
	postgres *local.Server
	kafka    *local.Server
	foreign  rueidis.Client
	names    atomic.Int64
}

// NewEnv makes the directory of this run's servers.
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

// Among are the kinds that were asked for.
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

// Redis is the address of a redis-server of this run.
func (e *Env) Redis(ctx context.Context) (string, error) {
	if e.redis != nil {
		return e.redis.Addr, nil
	}
	dir, err := e.dataDir("redis")
	if err != nil {
		return "", err
	}
	// By default Redis tracks a million keys, and has clients drop what is beyond: peers that hold as many each would never
	// have them all near.
	if e.redis, err = local.StartRedis(ctx, dir, local.Launch{Started: e.record}, "--tracking-table-max-keys",
		"0"); err != nil {
		return "", err
	}
	e.foreign, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{e.redis.Addr}, DisableCache: true})
	return e.redis.Addr, err
}

// Postgres is the URL of a database of this run.
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

// Kafka is the address of a broker of this run.
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
