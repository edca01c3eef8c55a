package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The programs.
const (
	ProductServer      = "product-server"
	OutboxRelay        = "outbox-relay"
	InvalidationWorker = "invalidation-worker"
)

// setting is one thing that a program can be told, by a flag or by a variable of the environment.
type setting struct {
	flag, env string
	// def is the default as text. usage is one sentence without its full stop.
	def, usage string
	programs   []string // that have it
	yesNo      bool     // the flag needs no value
	set        func(c *Config, value string) error
}

var (
	everyProgram   = []string{ProductServer, OutboxRelay, InvalidationWorker}
	serverOnly     = []string{ProductServer}
	withDatabase   = []string{ProductServer, OutboxRelay}
	withKafkaGroup = []string{ProductServer, InvalidationWorker}
)

// settings are all there are. -h and docs/reference/cli.md are made from them.
var settings = []setting{
	{"listen", "LISTEN_ADDR", "127.0.0.1:0", "address to serve HTTP on; port 0 is any free port", everyProgram, false,
		text(func(c *Config) *string { return &c.Listen })},
	{"database", "DATABASE_URL", "", "postgres://user:password@host:port/database, or sqlite:FILE", withDatabase, false,
		text(func(c *Config) *string { return &c.DatabaseURL })},
	{"redis", "REDIS_URL", "", "redis://user:password@host:port/database, or host:port; it wins over REDIS_HOST",
		everyProgram, false,
		text(func(c *Config) *string { return &c.RedisURL })},
	{"redis-host", "REDIS_HOST", "", "host of Redis", everyProgram, false,
		text(func(c *Config) *string { return &c.RedisHost })},
	{"redis-port", "REDIS_PORT", "6379", "port of Redis, beside REDIS_HOST", everyProgram, false,
		text(func(c *Config) *string { return &c.RedisPort })},
	{"redis-prefix", "REDIS_PREFIX", "nc", "beginning of every Redis key; two systems on one Redis need two", everyProgram,
		false,
		text(func(c *Config) *string { return &c.Prefix })},
	{"redis-buckets", "REDIS_BUCKETS", "64", "into how many parts Redis's keys are divided, 64 to 4096: the same for all" +
		" programs of a prefix", everyProgram, false, number(func(c *Config) *int { return &c.Buckets })},
	{"kafka", "KAFKA_BOOTSTRAP_SERVERS", "", "Kafka's brokers, host:port separated by commas; empty: no Kafka",
		everyProgram, false,
		text(func(c *Config) *string { return &c.Brokers })},
	{"topic", "KAFKA_PRODUCT_TOPIC", "product_events", "topic of the products' events", everyProgram, false,
		text(func(c *Config) *string { return &c.Topic })},
	{"barrier-topic", "KAFKA_BARRIER_TOPIC", "auto", "topic where the relay says how far it has come, which no other" +
		" program may write; auto: the topic of the events and .barriers", withDatabase, false,
		text(func(c *Config) *string { return &c.BarrierTopic })},
	{"also-updated", "KAFKA_ALSO_UPDATED", "false", "publish a PRODUCT_UPDATED after each creation and deletion, for" +
		" consumers that know no other type", withDatabase, true, yesNo(func(c *Config) *bool { return &c.AlsoUpdated })},
	{"group", "KAFKA_GROUP_ID", "nearcache-invalidation-worker",
		"consumer group of the worker; no other program may use it",
		withKafkaGroup, false, text(func(c *Config) *string { return &c.GroupID })},
	{"kafka-protocol", "KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", everyProgram,
		false, text(func(c *Config) *string { return &c.KafkaSecurity.Protocol })},
	{"kafka-mechanism", "KAFKA_SASL_MECHANISM", "", "PLAIN (without a mechanism), SCRAM-SHA-256 or SCRAM-SHA-512",
		everyProgram, false, text(func(c *Config) *string { return &c.KafkaSecurity.Mechanism })},
	{"kafka-user", "KAFKA_SASL_USERNAME", "", "user of Kafka", everyProgram, false,
		text(func(c *Config) *string { return &c.KafkaSecurity.User })},
	{"kafka-password", "KAFKA_SASL_PASSWORD", "",
		"password of that user; other users of the machine see flags, so set the" +
			" variable", everyProgram, false, text(func(c *Config) *string { return &c.KafkaSecurity.Password })},
	{"kafka-ca", "KAFKA_SSL_CA_FILE", "",
		"file of the certificates that sign those of the brokers; without it the system's",
		everyProgram, false, text(func(c *Config) *string { return &c.KafkaSecurity.CAFile })},
	{"kafka-cert", "KAFKA_SSL_CERT_FILE", "", "file of the program's own certificate", everyProgram, false,
		text(func(c *Config) *string { return &c.KafkaSecurity.CertFile })},
	{"kafka-key", "KAFKA_SSL_KEY_FILE", "", "file of that certificate's key", everyProgram, false,
		text(func(c *Config) *string { return &c.KafkaSecurity.KeyFile })},
	{"nats", "NATS_URL", "", "NATS's servers, nats://host:port separated by commas, for events in the place of Kafka",
		withDatabase, false, text(func(c *Config) *string { return &c.NATS.URL })},
	{"nats-stream", "NATS_STREAM", "PRODUCT_EVENTS", "stream of the products' events, and the beginning of its subjects",
		withDatabase, false, text(func(c *Config) *string { return &c.NATSStream })},
	{"nats-replicas", "NATS_REPLICAS", "1", "replicas of the stream, if the relay makes it, 1 to 5", withDatabase, false,
		number(func(c *Config) *int { return &c.NATSReplicas })},
	{"nats-user", "NATS_USER", "", "user of NATS", withDatabase, false,
		text(func(c *Config) *string { return &c.NATS.User })},
	{"nats-password", "NATS_PASSWORD", "",
		"password of that user; other users of the machine see flags, so set the variable", withDatabase, false,
		text(func(c *Config) *string { return &c.NATS.Password })},
	{"nats-creds", "NATS_CREDS", "", "file of credentials, a JWT and its seed", withDatabase, false,
		text(func(c *Config) *string { return &c.NATS.CredsFile })},
	{"nats-ca", "NATS_CA", "", "file of the certificates that sign those of the servers; without it the system's",
		withDatabase, false, text(func(c *Config) *string { return &c.NATS.CAFile })},
	{"nats-cert", "NATS_CERT", "", "file of the program's own certificate", withDatabase, false,
		text(func(c *Config) *string { return &c.NATS.CertFile })},
	{"nats-key", "NATS_KEY", "", "file of that certificate's key", withDatabase, false,
		text(func(c *Config) *string { return &c.NATS.KeyFile })},
	{"ttl", "CACHE_TTL_SECONDS", "300", "how long a product is cached, in seconds", serverOnly, false,
		duration(time.Second, func(c *Config) *time.Duration { return &c.TTL })},
	{"max-staleness", "CACHE_MAX_STALENESS_MS", "0",
		"how old a product may be that is served, in milliseconds; 0: no bound", serverOnly, false,
		duration(time.Millisecond, func(c *Config) *time.Duration { return &c.MaxStaleness })},
	{"heartbeat", "HEARTBEAT_MS", "100",
		"how often the proofs of freshness are renewed and the relay looks for changes, in milliseconds",
		withDatabase, false, duration(time.Millisecond, func(c *Config) *time.Duration { return &c.Heartbeat })},
	{"staleness-floor", "STALENESS_FLOOR_MS", "auto",
		"a request that asks for a smaller bound counts as a forced read, in milliseconds;" +
			" auto: two heartbeats", serverOnly, false, setFloor},
	{"forced-reads", "FORCED_READS_PER_SECOND", "10",
		"how many reads of the database the headers of requests can force, all clients" +
			" together; more are answered 429; 0: no limit", serverOnly, false,
		number(func(c *Config) *int { return &c.ForcedReads })},
	{"audit-reads", "AUDIT_READS_PER_SECOND", "0",
		"how many reads a second the auditor compares with the database; 0: none", serverOnly, false,
		number(func(c *Config) *int { return &c.AuditReads })},
	{"request-timeout", "REQUEST_TIMEOUT_MS", "5000", "time that each request has, in milliseconds", serverOnly, false,
		duration(time.Millisecond, func(c *Config) *time.Duration { return &c.RequestTimeout })},
	{"shutdown-delay", "SHUTDOWN_DELAY_MS", "5000",
		"time between SIGTERM, when /readyz turns to 503, and the end of listening, in" +
			" milliseconds", serverOnly, false, duration(time.Millisecond,
			func(c *Config) *time.Duration { return &c.ShutdownDelay })},
	{"relay", "RELAY", "true", "run an outbox relay inside the server; of several one works at a time", serverOnly, true,
		yesNo(func(c *Config) *bool { return &c.Relay })},
	{"worker", "WORKER", "false", "run an invalidation worker inside the server; with embedded services one always runs",
		serverOnly, true,
		yesNo(func(c *Config) *bool { return &c.Worker })},
	{"instances", "INSTANCES", "1", "instances in this process, each with a cache and an address of its own", serverOnly,
		false,
		number(func(c *Config) *int { return &c.Instances })},
	{"seed", "SEED_PRODUCTS", "auto",
		"made-up products to store if there are none; auto: 1000 with embedded services, else 0", serverOnly,
		false, setSeed},
	{"admin-listen", "ADMIN_LISTEN_ADDR", "127.0.0.1:0", "address for operators: metrics, status, profiles, the caches'" +
		" view and mode; it authorises nobody; port 0 is any free port; api: on the address of the API", serverOnly, false,
		text(func(c *Config) *string { return &c.AdminListen })},
	{"log-level", "LOG_LEVEL", "info", "debug, info, warn or error", everyProgram, false,
		text(func(c *Config) *string { return &c.LogLevel })},
	{"log-format", "LOG_FORMAT", "text", "text or json", everyProgram, false,
		text(func(c *Config) *string { return &c.LogFormat })},
	{"crash", "PRODUCT_SERVER_CRASH", "",
		"for tests: after-commit kills the server between a write's commit and its invalidation",
		serverOnly, false, text(func(c *Config) *string { return &c.Crash })},
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, s string) error { *field(c) = s; return nil }
}

func number(field func(*Config) *int) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%.40q is no number", s)
		}
		*field(c) = n
		return nil
	}
}

func yesNo(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, s string) error {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%.40q is neither true nor false", s)
		}
		*field(c) = b
		return nil
	}
}

// duration reads a whole number of units, of a year at most.
func duration(unit time.Duration, field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if most := int64(365 * 24 * time.Hour / unit); err != nil || n < 0 || n > most {
			return fmt.Errorf("%.40q is no number from 0 to %d", s, most)
		}
		*field(c) = time.Duration(n) * unit
		return nil
	}
}

func setFloor(c *Config, s string) error {
	c.StalenessFloor = -1
	if s == "auto" {
		return nil
	}
	return duration(time.Millisecond, func(c *Config) *time.Duration { return &c.StalenessFloor })(c, s)
}

func setSeed(c *Config, s string) error {
	c.Seed = -1
	if s == "auto" {
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1_000_000 {
		return fmt.Errorf("%.40q is neither auto nor a number from 0 to 1000000", s)
	}
	c.Seed = n
	return nil
}

// raw takes a flag's text as it is. It never fails, since package flag would repeat the text, and a password in it.
type raw struct {
	value string
	given bool
	yesNo bool
}

func (r *raw) String() string   { return "" }
func (r *raw) IsBoolFlag() bool { return r.yesNo }

func (r *raw) Set(s string) error {
	r.value, r.given = s, true
	return nil
}

// read applies defaults, the environment and flags, each over the one before. It returns flag.ErrHelp for -h.
func read(program string, args []string, env func(string) string) (c Config, errs []error) {
	fs := flag.NewFlagSet(program, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	flags := map[string]*raw{}
	for _, s := range settings {
		if slices.Contains(s.programs, program) {
			flags[s.flag] = &raw{yesNo: s.yesNo}
			fs.Var(flags[s.flag], s.flag, "")
		}
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return c, []error{flag.ErrHelp}
		}
		errs = append(errs, err)
	}
	if n := fs.NArg(); n > 0 {
		errs = append(errs, fmt.Errorf("%d arguments that are no flags; every setting is one", n))
	}
	for _, s := range settings {
		if err := s.set(&c, s.def); err != nil {
			panic("app: the default of " + s.env + ": " + err.Error())
		}
		given, there := flags[s.flag]
		if !there {
			continue
		}
		name, value := s.env, env(s.env)
		if given.given {
			name, value = "-"+s.flag, given.value
		} else if value == "" {
			continue
		}
		if err := s.set(&c, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return c, errs
}

// Usage is what -h prints. It shows the defaults and never what is set: that may be a password.
func Usage(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [flags]\n\n%s\n\nA flag wins over the variable beside it.\n\n", program, purpose[program])
	for _, s := range settings {
		if !slices.Contains(s.programs, program) {
			continue
		}
		fmt.Fprintf(&b, "  -%-16s %s\n        %s", s.flag, s.env, s.usage)
		if s.def != "" {
			fmt.Fprintf(&b, " (default %s)", s.def)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "  -%-16s\n        print which build this is, and end\n", "version")
	b.WriteString("\nExit codes: 0 after SIGTERM or SIGINT, 1 for a failure, 2 for settings that cannot work.\n")
	return b.String()
}

// purpose is what each program does.
var purpose = map[string]string{
	ProductServer: `Product-server serves products over HTTP from a near cache. It needs DATABASE_URL and REDIS_URL, and
uses Kafka if KAFKA_BOOTSTRAP_SERVERS is set, or NATS if NATS_URL is. With none of the four it runs on embedded
services with made-up products.`,
	OutboxRelay: `Outbox-relay carries the products' changes from the database to Redis, and to Kafka or NATS if there
is one. Of several relays one works at a time. It needs DATABASE_URL and REDIS_URL.`,
	InvalidationWorker: `Invalidation-worker applies the events of the products' topic to Redis. It needs
KAFKA_BOOTSTRAP_SERVERS and REDIS_URL.`,
}

// Reference is the part of docs/reference/cli.md that describes a program's settings.
func Reference(program string) string {
	var b strings.Builder
	b.WriteString("| flag | variable | default | meaning |\n|---|---|---|---|\n")
	for _, s := range settings {
		if slices.Contains(s.programs, program) {
			def := "none"
			if s.def != "" {
				def = "`" + s.def + "`"
			}
			fmt.Fprintf(&b, "| `-%s` | `%s` | %s | %s |\n", s.flag, s.env, def, s.usage)
		}
	}
	return b.String()
}
