package app_test

import (
	"errors"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/product/app"
)

// environment is a program's environment.
type environment map[string]string

func (e environment) get(k string) string { return e[k] }

// services are addresses of all three.
func services(more environment) environment {
	e := environment{"DATABASE_URL": "postgres://u:hunter2@h:5432/d", "REDIS_URL": "redis://:hunter2@h:6379",
		"KAFKA_BOOTSTRAP_SERVERS": "h:9092"}
	for k, v := range more {
		e[k] = v
	}
	return e
}

func TestParse_FlagsWinOverTheEnvironment(t *testing.T) {
	env := services(environment{"CACHE_TTL_SECONDS": "60", "KAFKA_GROUP_ID": "g", "REDIS_PREFIX": "shop"})
	c, err := app.Parse(app.ProductServer, []string{"-ttl", "30", "--relay=false", "-worker"}, env.get)
	if err != nil {
		t.Fatal(err)
	}
	if c.TTL != 30*time.Second || c.GroupID != "g" || c.Topic != "product_events" || c.Prefix != "shop" || c.Relay ||
		!c.Worker {
		t.Errorf("got %+v, want the values of the environment", c)
	}
	d, err := app.Parse(app.ProductServer, nil, environment{}.get)
	if err != nil || d.TTL != 5*time.Minute || d.Prefix != "nc" || !d.Relay || d.Worker ||
		d.ShutdownDelay != 5*time.Second {
		t.Errorf("got %+v and error %v, want the defaults", d, err)
	}
}

func TestParse_NamesWhatIsWrong(t *testing.T) {
	for _, bad := range []string{"CACHE_TTL_SECONDS=0", "CACHE_TTL_SECONDS=-1", "CACHE_TTL_SECONDS=9223372036854775807",
		"INSTANCES=many", "INSTANCES=65",
		"LISTEN_ADDR=nowhere", "DATABASE_URL=mysql://x", "DATABASE_URL=sqlite:", "REDIS_URL=::", "REDIS_PREFIX=a:b",
		"LOG_LEVEL=loud", "LOG_FORMAT=xml",
		"RELAY=maybe", "KAFKA_BOOTSTRAP_SERVERS=,", "KAFKA_BOOTSTRAP_SERVERS=h", "HEARTBEAT_MS=0",
		"CACHE_MAX_STALENESS_MS=100", "SEED_PRODUCTS=-1",
		"SEED_PRODUCTS=some", "REQUEST_TIMEOUT_MS=0", "SHUTDOWN_DELAY_MS=-1", "FORCED_READS_PER_SECOND=-1",
		"STALENESS_FLOOR_MS=x", "LISTEN_ADDR=:99999", "ADMIN_LISTEN_ADDR=:x", "REDIS_URL=redis://h:7?nosuch=1",
		"KAFKA_PRODUCT_TOPIC=a b", "KAFKA_PRODUCT_TOPIC=..", "KAFKA_BARRIER_TOPIC=\u00e9",
		"KAFKA_PRODUCT_TOPIC=" + strings.Repeat("x", 250)} {
		key, value, _ := strings.Cut(bad, "=")
		env := services(environment{key: value})
		_, err := app.Parse(app.ProductServer, nil, env.get)
		if !errors.Is(err, app.ErrUsage) || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v, want ErrUsage that names the variable and no password", bad, err)
		}
	}
	env := environment{"DATABASE_URL": "sqlite:x", "REDIS_HOST": "h:7"}
	if _, err := app.Parse(app.ProductServer, nil, env.get); err == nil || !strings.Contains(err.Error(), "REDIS_HOST") {
		t.Errorf("REDIS_HOST=h:7: %v", err)
	}
	for _, args := range [][]string{{"stray"}, {"redis://:hunter2@h:1"}, {"-redis", "redis://:hunter2@"},
		{"-database=postgres://u:hunter2@h:x/d"},
		{"-redsi=redis://:hunter2@h:1"}, {"-ttl", "soon"}, {"-listen"}} {
		if _, err := app.Parse(app.ProductServer, args, services(nil).get); !errors.Is(err, app.ErrUsage) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("arguments %q: got error %v, want ErrUsage without a password", args, err)
		}
	}
}

// TestParse_AllServicesOrNone: a service that is not named is never made up beside others that are.
func TestParse_AllServicesOrNone(t *testing.T) {
	const db, redis, kafka = "DATABASE_URL=sqlite:x.db", "REDIS_HOST=h", "KAFKA_BOOTSTRAP_SERVERS=h:9092"
	for _, c := range []struct {
		program string
		env     []string
		missing []string // nil: it works
	}{
		{app.ProductServer, nil, nil},
		{app.ProductServer, []string{db, redis}, nil},
		{app.ProductServer, []string{db, redis, kafka}, nil},
		{app.ProductServer, []string{db, "REDIS_URL=h:7"}, nil},
		{app.ProductServer, []string{db}, []string{"REDIS_URL"}},
		{app.ProductServer, []string{redis}, []string{"DATABASE_URL"}},
		{app.ProductServer, []string{kafka}, []string{"DATABASE_URL", "REDIS_URL"}},
		{app.ProductServer, []string{db, kafka}, []string{"REDIS_URL"}},
		{app.ProductServer, []string{redis, kafka}, []string{"DATABASE_URL"}},
		{app.ProductServer, []string{"REDIS_PORT=7"}, []string{"REDIS_HOST"}},
		{app.ProductServer, []string{db, redis, "WORKER=true"}, []string{"KAFKA_BOOTSTRAP_SERVERS"}},
		{app.OutboxRelay, nil, []string{"DATABASE_URL", "REDIS_URL"}},
		{app.OutboxRelay, []string{db, redis}, nil},
		{app.OutboxRelay, []string{db, kafka}, []string{"REDIS_URL"}},
		{app.InvalidationWorker, nil, []string{"REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS"}},
		{app.InvalidationWorker, []string{db, redis}, []string{"KAFKA_BOOTSTRAP_SERVERS"}},
		{app.InvalidationWorker, []string{redis, kafka}, nil},
	} {
		env := environment{}
		for _, s := range c.env {
			k, v, _ := strings.Cut(s, "=")
			env[k] = v
		}
		_, err := app.Parse(c.program, nil, env.get)
		if (err == nil) != (c.missing == nil) {
			t.Errorf("%s with %v: %v", c.program, c.env, err)
		}
		for _, m := range c.missing {
			if err != nil && !strings.Contains(err.Error(), m) {
				t.Errorf("%s with %v: %v, which does not name %s", c.program, c.env, err, m)
			}
		}
	}
}

// TestUsage_OfEachProgram: -h lists what the program reads, with the defaults and not with what is set.
func TestUsage_OfEachProgram(t *testing.T) {
	for program, not := range map[string][]string{
		app.ProductServer:      nil,
		app.OutboxRelay:        {"-group", "-ttl", "-instances", "-seed", "-worker", "-max-staleness", "-crash", "-relay"},
		app.InvalidationWorker: {"-database", "-ttl", "-instances", "-seed", "-worker", "-heartbeat", "-crash", "-relay"},
	} {
		for _, help := range []string{"-h", "--help", "-help"} {
			if _, err := app.Parse(program, []string{help}, services(nil).get); !errors.Is(err, flag.ErrHelp) {
				t.Errorf("%s %s: got error %v, want flag.ErrHelp", program, help, err)
			}
		}
		usage := app.Usage(program)
		if strings.Contains(usage, "hunter2") || !strings.Contains(usage, "REDIS_PREFIX") || !strings.Contains(usage,
			"Exit codes") {
			t.Errorf("got the usage %s, want the variables and exit codes and no password", usage)
		}
		listed := regexp.MustCompile(`(?m)^  (-[a-z-]+) +([A-Z_]+)$`).FindAllStringSubmatch(usage, -1)
		if len(listed) < 8 {
			t.Errorf("%s lists %d settings", program, len(listed))
		}
		for _, m := range listed {
			if slices.Contains(not, m[1]) {
				t.Errorf("%s lists %s, which it does not use", program, m[1])
			}
		}
		for _, f := range not {
			if _, err := app.Parse(program, []string{f + "=1"}, services(nil).get); !errors.Is(err, app.ErrUsage) {
				t.Errorf("%s takes %s: %v", program, f, err)
			}
		}
	}
}

// TestReference_IsInTheDocument: docs/reference/cli.md has the settings as they are.
func TestReference_IsInTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/reference/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{app.ProductServer, app.OutboxRelay, app.InvalidationWorker} {
		if !strings.Contains(string(doc), app.Reference(program)) {
			t.Errorf("docs/reference/cli.md does not have the settings of %s as they are:\n%s", program, app.Reference(program))
		}
	}
}
