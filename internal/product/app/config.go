// Package app wires the demo's programs together: configuration, the database, the cache, the relay and the worker.
package app

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/kafka"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
	"github.com/nearcache/nearcache-go/tier"
)

// Config is what a program is told. settings describes each field.
type Config struct {
	Listen         string
	DatabaseURL    string
	RedisURL       string
	RedisHost      string
	RedisPort      string
	Prefix         string
	Buckets        int
	Brokers        string
	Topic          string
	BarrierTopic   string // auto: the default beside Topic
	AlsoUpdated    bool
	GroupID        string
	KafkaSecurity  endpoint.KafkaSecurity
	NATS           endpoint.NATS
	NATSStream     string
	NATSReplicas   int // of the stream, if the relay makes it
	TTL            time.Duration
	MaxStaleness   time.Duration
	Heartbeat      time.Duration
	StalenessFloor time.Duration // -1: two heartbeats
	ForcedReads    int
	AuditReads     int
	RequestTimeout time.Duration
	ShutdownDelay  time.Duration
	Relay          bool
	Worker         bool
	Instances      int
	Seed           int    // -1: as many as the services are worth
	AdminListen    string // api: the API's address
	LogLevel       string
	LogFormat      string
	Crash          string
}

// ErrUsage is a configuration that cannot work. Programs exit with 2.
var ErrUsage = errors.New("bad configuration")

// Parse reads a program's flags and environment. The error is flag.ErrHelp if the flags ask for help, else it wraps
// ErrUsage and names every setting that is wrong. It shows no password.
func Parse(program string, args []string, env func(string) string) (Config, error) {
	c, errs := read(program, args, env)
	if len(errs) == 1 && errors.Is(errs[0], flag.ErrHelp) {
		return c, flag.ErrHelp
	}
	errs = append(errs, c.check()...)
	errs = append(errs, c.checkServices(program, env)...)
	if len(errs) > 0 {
		return c, fmt.Errorf("%w: %w", ErrUsage, errors.Join(errs...))
	}
	return c, nil
}

// check looks at each setting by itself.
func (c *Config) check() (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.TTL == 0 {
		wrong("CACHE_TTL_SECONDS is 0: 1 second to a year")
	}
	if c.Heartbeat < time.Millisecond || c.Heartbeat > time.Minute {
		wrong("HEARTBEAT_MS is %d: 1 to 60000", c.Heartbeat.Milliseconds())
	}
	if c.MaxStaleness > 0 && c.MaxStaleness < 2*c.Heartbeat {
		wrong("CACHE_MAX_STALENESS_MS is %d and HEARTBEAT_MS %d: 0, or at least two heartbeats",
			c.MaxStaleness.Milliseconds(), c.Heartbeat.Milliseconds())
	}
	if c.ForcedReads < 0 {
		wrong("FORCED_READS_PER_SECOND is %d: 0 or more", c.ForcedReads)
	}
	if c.AuditReads < 0 || c.AuditReads > 1000 {
		wrong("AUDIT_READS_PER_SECOND is %d: 0 to 1000", c.AuditReads)
	}
	if c.RequestTimeout < 10*time.Millisecond || c.RequestTimeout > 10*time.Minute {
		wrong("REQUEST_TIMEOUT_MS is %d: 10 to 600000", c.RequestTimeout.Milliseconds())
	}
	if c.ShutdownDelay > 10*time.Minute {
		wrong("SHUTDOWN_DELAY_MS is %d: 0 to 600000", c.ShutdownDelay.Milliseconds())
	}
	if c.Instances < 1 || c.Instances > 64 {
		wrong("INSTANCES is %d: 1 to 64", c.Instances)
	}
	if err := endpoint.CheckListen(c.Listen); err != nil {
		wrong("LISTEN_ADDR: %w", err)
	}
	if c.AdminListen != onAPI {
		if err := endpoint.CheckListen(c.AdminListen); err != nil {
			wrong("ADMIN_LISTEN_ADDR: %w", err)
		}
	}
	if err := coherence.CheckName(c.Prefix); err != nil {
		wrong("REDIS_PREFIX %w", err)
	}
	if err := tier.CheckBuckets(c.Buckets); err != nil {
		wrong("REDIS_BUCKETS: %w", err)
	}
	if c.Crash != "" && c.Crash != "after-commit" {
		wrong("PRODUCT_SERVER_CRASH is %.40q: after-commit, or nothing", c.Crash)
	}
	if _, err := c.handler(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// checkServices looks at the addresses, and at which of them are there. Either none is, and everything is embedded,
// or all that the program needs are: a missing one is never made up.
func (c *Config) checkServices(program string, env func(string) string) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, file := endpoint.SQLite(c.DatabaseURL); !file && c.DatabaseURL != "" {
		if _, err := endpoint.Postgres(c.DatabaseURL); err != nil {
			wrong("DATABASE_URL: %w; or the form sqlite:FILE", err)
		}
	}
	if c.hasRedis() {
		if _, err := c.redis(); err != nil {
			errs = append(errs, err)
		}
	} else if env("REDIS_PORT") != "" {
		wrong("REDIS_PORT is set, and neither REDIS_HOST nor REDIS_URL is")
	}
	errs = append(errs, c.checkChannel()...)
	if err := kafka.CheckTopic(c.Topic); err != nil {
		wrong("KAFKA_PRODUCT_TOPIC %w", err)
	} else if err := kafka.CheckTopic(c.barrierTopic()); err != nil {
		wrong("KAFKA_BARRIER_TOPIC %w", err)
	}
	if c.barrierTopic() == c.Topic {
		wrong("KAFKA_BARRIER_TOPIC is the topic of the events: whoever writes those could forge proofs")
	}
	if program == ProductServer && c.embedded() {
		return errs
	}
	var missing []string
	if program != InvalidationWorker && c.DatabaseURL == "" {
		missing = append(missing, "DATABASE_URL")
	}
	if !c.hasRedis() {
		missing = append(missing, "REDIS_URL (or REDIS_HOST)")
	}
	if c.Brokers == "" && (program == InvalidationWorker || c.Worker) {
		missing = append(missing, "KAFKA_BOOTSTRAP_SERVERS")
	}
	if len(missing) > 0 {
		rule := ""
		if program == ProductServer {
			rule = "; either all services of the server are set, or none, and then they are embedded"
		}
		wrong("needs %s%s", strings.Join(missing, " and "), rule)
	}
	return errs
}

func (c *Config) hasRedis() bool { return c.RedisURL != "" || c.RedisHost != "" }

// embedded says that no service is configured.
func (c *Config) embedded() bool {
	return c.DatabaseURL == "" && !c.hasRedis() && c.Brokers == "" && c.NATS.URL == ""
}

// barrierTopic is where barriers go.
func (c *Config) barrierTopic() string {
	if c.BarrierTopic == "auto" {
		return kafka.BarrierTopic(c.Topic)
	}
	return c.BarrierTopic
}

// floor is the smallest bound that does not count as a forced read.
func (c *Config) floor() time.Duration {
	if c.StalenessFloor < 0 {
		return 2 * c.Heartbeat
	}
	return c.StalenessFloor
}

// Logger logs to standard error. Of warnings and errors that repeat it drops most, and says how many.
func (c *Config) Logger() (*slog.Logger, error) {
	h, err := c.handler()
	if err != nil {
		return nil, err
	}
	return slog.New(newSampler(h)), nil
}

func (c *Config) handler() (slog.Handler, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("LOG_LEVEL is %.40q: debug, info, warn or error", c.LogLevel)
	}
	opt := &slog.HandlerOptions{Level: level}
	switch c.LogFormat {
	case "text":
		return slog.NewTextHandler(os.Stderr, opt), nil
	case "json":
		return slog.NewJSONHandler(os.Stderr, opt), nil
	}
	return nil, fmt.Errorf("LOG_FORMAT is %.40q: text or json", c.LogFormat)
}

func (c *Config) redis() (opt rueidis.ClientOption, err error) {
	if c.RedisURL != "" {
		if opt, err = endpoint.Redis(c.RedisURL); err != nil {
			return opt, fmt.Errorf("REDIS_URL: %w", err)
		}
		return opt, nil
	}
	if opt, err = endpoint.RedisAt(c.RedisHost, c.RedisPort); err != nil {
		return opt, err
	}
	return opt, nil
}

func (c *Config) brokers() (kafka.Broker, error) {
	list, err := endpoint.Brokers(c.Brokers)
	if err != nil {
		return kafka.Broker{}, fmt.Errorf("KAFKA_BOOTSTRAP_SERVERS: %w", err)
	}
	transport, err := c.KafkaSecurity.Transport()
	if err != nil {
		return kafka.Broker{}, err
	}
	return kafka.Broker{Brokers: list, Transport: transport}, nil
}
