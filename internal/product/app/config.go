// Package app wires the demo's programs together: configuration, the database, the cache, the relay and the worker.
package app

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/kafka"
)

// Config is what the demo's programs are told, by flags or by the environment; a flag wins.
type Config struct {
	Listen      string
	DatabaseURL string
	RedisURL    string
	RedisHost   string
	RedisPort   string
	TTLSeconds  int
	MaxStaleMS  int
	HeartbeatMS int
	Brokers     string
	Topic       string
	GroupID     string
	Relay       bool
	Worker      bool
	Instances   int
	Seed        int
	LogLevel    string
	LogFormat   string
	Crash       string
}

// ErrUsage is a configuration that cannot work. Programs exit with 2.
var ErrUsage = errors.New("bad configuration")

// Parse reads flags and environment.
func Parse(program string, args []string, env func(string) string) (Config, error) {
	var c Config
	var errs []error
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	text := func(p *string, name, key, def, usage string) {
		if v := env(key); v != "" {
			def = v
		}
		fs.StringVar(p, name, def, usage+" ("+key+")")
	}
	number := func(p *int, name, key string, def int, usage string) {
		if v := env(key); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s is %q, not a number", key, v))
			}
			def = n
		}
		fs.IntVar(p, name, def, usage+" ("+key+")")
	}
	yes := func(p *bool, name, key string, def bool, usage string) {
		if v := env(key); v != "" {
			b, err := strconv.ParseBool(v)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s is %q, neither true nor false", key, v))
			}
			def = b
		}
		fs.BoolVar(p, name, def, usage+" ("+key+")")
	}
	text(&c.Listen, "listen", "LISTEN_ADDR", "127.0.0.1:0", "address to serve HTTP on; port 0 is any free one")
	text(&c.DatabaseURL, "database", "DATABASE_URL", "", "postgres://... or sqlite:FILE; empty: embedded SQLite")
	text(&c.RedisURL, "redis", "REDIS_URL", "", "redis://... ; wins over host and port")
	text(&c.RedisHost, "redis-host", "REDIS_HOST", "", "Redis's host; all empty: embedded Redis")
	text(&c.RedisPort, "redis-port", "REDIS_PORT", "6379", "Redis's port")
	number(&c.TTLSeconds, "ttl", "CACHE_TTL_SECONDS", 300, "how long a product is cached, in seconds")
	number(&c.MaxStaleMS, "max-staleness", "CACHE_MAX_STALENESS_MS", 0, "how old a product may be that is served, in milliseconds; 0: no bound")
	number(&c.HeartbeatMS, "heartbeat", "HEARTBEAT_MS", 100, "how often the proofs of freshness are renewed, in milliseconds; also the relay's interval")
	text(&c.Brokers, "kafka", "KAFKA_BOOTSTRAP_SERVERS", "", "Kafka's brokers, host:port,...; empty with everything else empty: embedded Kafka; else none")
	text(&c.Topic, "topic", "KAFKA_PRODUCT_TOPIC", "product_events", "topic of the products' events")
	text(&c.GroupID, "group", "KAFKA_GROUP_ID", "cache_invalidator_group", "consumer group of the worker")
	yes(&c.Relay, "relay", "RELAY", true, "run an outbox relay inside the server; of several one works at a time")
	yes(&c.Worker, "worker", "WORKER", false, "run an invalidation worker inside the server")
	number(&c.Instances, "instances", "INSTANCES", 1, "instances to run in this process, each with a cache and an address of its own")
	number(&c.Seed, "seed", "SEED_PRODUCTS", -1, "made-up products to store if there are none; -1: 1000 when embedded, else 0")
	text(&c.LogLevel, "log-level", "LOG_LEVEL", "info", "debug, info, warn or error")
	text(&c.LogFormat, "log-format", "LOG_FORMAT", "text", "text or json")
	text(&c.Crash, "crash", "PRODUCT_SERVER_CRASH", "", "for tests: after-commit kills the server between a write's commit and its invalidation")
	if err := fs.Parse(args); err != nil {
		return c, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected arguments: %q", fs.Args()))
	}
	errs = append(errs, c.check()...)
	if len(errs) > 0 {
		return c, fmt.Errorf("%w: %w", ErrUsage, errors.Join(errs...))
	}
	return c, nil
}

func (c *Config) check() (errs []error) {
	if c.TTLSeconds < 1 || c.TTLSeconds > 365*24*3600 {
		errs = append(errs, fmt.Errorf("CACHE_TTL_SECONDS is %d: 1 second to a year", c.TTLSeconds))
	}
	if c.HeartbeatMS < 1 || c.HeartbeatMS > 60_000 {
		errs = append(errs, fmt.Errorf("HEARTBEAT_MS is %d: 1 to 60000", c.HeartbeatMS))
	}
	if c.MaxStaleMS < 0 || c.MaxStaleMS > 0 && c.MaxStaleMS < 2*c.HeartbeatMS {
		errs = append(errs, fmt.Errorf("CACHE_MAX_STALENESS_MS is %d and HEARTBEAT_MS %d: 0, or at least two heartbeats", c.MaxStaleMS, c.HeartbeatMS))
	}
	if c.Instances < 1 || c.Instances > 64 {
		errs = append(errs, fmt.Errorf("INSTANCES is %d: 1 to 64", c.Instances))
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("LISTEN_ADDR: %w", err))
	}
	if c.Crash != "" && c.Crash != "after-commit" {
		errs = append(errs, fmt.Errorf("PRODUCT_SERVER_CRASH is %q", c.Crash))
	}
	if _, err := c.Logger(); err != nil {
		errs = append(errs, err)
	}
	if c.DatabaseURL != "" && !c.postgres() && !strings.HasPrefix(c.DatabaseURL, "sqlite:") {
		errs = append(errs, errors.New("DATABASE_URL begins with none of postgres:, postgresql: and sqlite"))
	}
	if c.RedisURL != "" {
		if _, err := rueidis.ParseURL(c.RedisURL); err != nil {
			errs = append(errs, fmt.Errorf("REDIS_URL: %w", err))
		}
	}
	return errs
}

func (c *Config) postgres() bool {
	return strings.HasPrefix(c.DatabaseURL, "postgres://") || strings.HasPrefix(c.DatabaseURL, "postgresql://")
}

// embedded says that nothing is configured.
func (c *Config) embedded() bool {
	return c.DatabaseURL == "" && c.RedisURL == "" && c.RedisHost == "" && c.Brokers == ""
}

// Logger logs to standard error.
func (c *Config) Logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("LOG_LEVEL: %w", err)
	}
	opt := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opt)), nil
	}
	return nil, fmt.Errorf("LOG_FORMAT is %q: text or json", c.LogFormat)
}

func (c *Config) redis() (rueidis.ClientOption, error) {
	if c.RedisURL != "" {
		return rueidis.ParseURL(c.RedisURL)
	}
	return rueidis.ClientOption{InitAddress: []string{net.JoinHostPort(c.RedisHost, c.RedisPort)}}, nil
}

func (c *Config) brokers() kafka.Broker {
	var b kafka.Broker
	for _, s := range strings.Split(c.Brokers, ",") {
		if s = strings.TrimSpace(s); s != "" {
			b.Brokers = append(b.Brokers, s)
		}
	}
	return b
}

func (c *Config) heartbeat() time.Duration { return time.Duration(c.HeartbeatMS) * time.Millisecond }

func (c *Config) ttl() time.Duration { return time.Duration(c.TTLSeconds) * time.Second }
