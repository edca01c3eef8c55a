package operator

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/internal/version"
	"github.com/nearcache/nearcache-go/tier"
)

// tool is what the commands have in common: how to reach the services, and how to print.
type tool struct {
	env func(string) string

	redis, prefix, buckets, database, schema string
	kafka, topic, barriers                   string
	timeout                                  time.Duration
	json                                     bool
	withoutNotify                            bool  // of install
	truncateRows                             int64 // of install; 0: the default
}

const about = `Nearcache shows what a near cache holds, makes every instance drop keys, looks for what is wrong,
and repairs.

The services are those of the programs, by the same variables: REDIS_URL, REDIS_PREFIX and REDIS_BUCKETS, DATABASE_URL,
KAFKA_BOOTSTRAP_SERVERS, KAFKA_PRODUCT_TOPIC and KAFKA_BARRIER_TOPIC; rediss:// is Redis over TLS, and a user in
the address is that of its ACL. KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME,
KAFKA_SASL_PASSWORD, KAFKA_SSL_CA_FILE, KAFKA_SSL_CERT_FILE and KAFKA_SSL_KEY_FILE are Kafka's TLS and SASL. A
flag wins over its variable. No message shows a password.

A KEY is NAMESPACE:NAME, such as product:42, or the key in Redis that a client's log names.

Exit codes: 0 all was done, 1 a failure or something that was not reached, 2 a command line that cannot work, 3
doctor or audit has found something that is wrong.`

// root is the whole command line. Its flags have no default from the environment, which --help would show with the
// passwords in it.
func root(env func(string) string) *cobra.Command {
	t := &tool{env: env}
	cmd := group("nearcache", "The operator's tool of a near cache", about)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.Version = version.String("nearcache")
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	flags := cmd.PersistentFlags()
	flags.StringVar(&t.redis, "redis", "", "Redis: redis://[user:password@]host:port[/database], or host:port (REDIS_URL)")
	flags.StringVar(&t.prefix, "prefix", "", "beginning of every Redis key (REDIS_PREFIX; default "+tier.DefaultPrefix+")")
	flags.StringVar(&t.buckets, "buckets", "", "number of buckets of the Redis keys (REDIS_BUCKETS; default 64)")
	flags.StringVar(&t.database, "database", "", "Postgres: postgres://user:password@host:port/database (DATABASE_URL)")
	flags.StringVar(&t.schema, "schema", "nearcache", "schema of the source's tables")
	flags.StringVar(&t.kafka, "kafka", "",
		"Kafka's brokers, host:port separated by commas (KAFKA_BOOTSTRAP_SERVERS)")
	flags.StringVar(&t.topic, "topic", "", "topic of the events (KAFKA_PRODUCT_TOPIC; default product_events)")
	flags.StringVar(&t.barriers, "barrier-topic", "",
		"topic of the barriers (KAFKA_BARRIER_TOPIC; default the topic of the events and .barriers)")
	flags.DurationVar(&t.timeout, "timeout", 10*time.Second,
		"time for the whole command; work that takes as long as there is much of it has none unless this is given")
	flags.BoolVar(&t.json, "json", false, "print one JSON object in a line, or a line for each event")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		if t.timeout <= 0 {
			return usage("--timeout is %v: it must be positive", t.timeout)
		}
		return nil
	}
	cmd.AddCommand(t.keyCommand(), t.inspectCommand(), t.watchCommand(), t.auditCommand(), t.purgeCommand(),
		t.invalidateCommand(), t.copyCommand(), t.topCommand(),
		t.doctorCommand(), t.replayCommand(), t.dlqCommand(), t.relayCommand(), t.installCommand(), t.manCommand(),
		t.referenceCommand())
	return cmd
}

// or is a flag's value, or a variable's.
func (t *tool) or(flag, variable string) string {
	if flag == "" {
		return t.env(variable)
	}
	return flag
}

// limit bounds a command by --timeout.
func (t *tool) limit(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), t.timeout)
}

// limitIfAsked bounds a command that may rightly take long: only by a --timeout that is given.
func (t *tool) limitIfAsked(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	if cmd.Flags().Changed("timeout") {
		return t.limit(cmd)
	}
	return context.WithCancel(cmd.Context())
}
