//go:build unix

// Command chaos runs a fleet of near caches on services of its own, injects faults, and checks every read:
// package internal/chaos. It exits with 1 if a guarantee was broken, L1 served too little, or service did not resume.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

func main() {
	if chaos.IsChild() {
		os.Exit(chaos.Child())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	passed, err := run(ctx)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	case !passed:
		os.Exit(1)
	}
}

// command is what the command line asks for.
type command struct {
	cfg        chaos.Config
	keep, list bool
	judge      string   // the directory of an earlier run
	tries      int      // take out every rule, or those named, in so many runs each; 0: make one run
	rules      []string // those named
}

func parse(args []string) (c command, err error) {
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.DurationVar(&c.cfg.Duration, "duration", time.Minute, "for how long faults are injected")
	fs.Uint64Var(&c.cfg.Seed, "seed", 0, "seed of the schedule, the keys and the writes; 0 draws one")
	fs.StringVar(&c.cfg.Without, "without", "", "run without this rule of the protocol (needs -tags ablate)")
	fs.DurationVar(&c.cfg.Bound, "bound", 0, "Δ, that reads with a bound ask for; 0: 250ms. Heartbeats take 25ms")
	fs.Float64Var(&c.cfg.Rate, "rate", 0, "reads per second and instance")
	fs.Float64Var(&c.cfg.Writes, "writes", 0, "writes per second of each process that writes")
	fs.IntVar(&c.cfg.Keys, "keys", 0, "number of keys")
	fs.StringVar(&c.cfg.Server, "server", "", "path of the program product-server; it is then used over HTTP too")
	fs.StringVar(&c.cfg.Source, "source", "postgres", "the source of truth: postgres or mariadb")
	fs.StringVar(&c.cfg.Redis, "redis", "single",
		"what Redis is: single, sentinel (1+2, three Sentinels) or cluster (3+3)")
	fs.StringVar(&c.cfg.Tracking, "tracking", "on", "on, or off: the events alone tell instances of changes")
	fs.StringVar(&c.cfg.Events, "events", "kafka", "what carries the events: kafka or nats (JetStream)")
	fs.BoolVar(&c.cfg.Relayed, "relayed", false, "instances have no Source: they rely on the relay (Config.Relayed)")
	fs.BoolVar(&c.cfg.Hosts, "hosts", false, "each instance has a network namespace of its own (needs root and ip)")
	fs.BoolVar(&c.cfg.Heavy, "heavy", false, "add the faults that take minutes")
	fs.BoolVar(&c.keep, "keep", false, "keep histories and logs of a run that passed")
	fs.StringVar(&c.judge, "judge", "", "check the histories in this directory again, and run nothing")
	fs.BoolVar(&c.list, "list", false, "list the faults")
	fs.IntVar(&c.tries, "ablations", 0, "take out one rule after another, in so many runs at most (needs -tags ablate); "+
		"arguments name the rules, else it is all for which a fault is known")
	only := fs.String("faults", "", "inject only these faults, separated by semicolons, in this order")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if c.rules = fs.Args(); len(c.rules) > 0 && c.tries == 0 {
		return c, fmt.Errorf("arguments name rules for -ablations: %v", c.rules)
	}
	switch c.cfg.Source {
	case "postgres":
	case "mariadb":
		c.cfg.Server = "" // the product server works on Postgres
	default:
		return c, fmt.Errorf("-source %q: it is postgres or mariadb", c.cfg.Source)
	}
	switch c.cfg.Redis {
	case "single":
	case "sentinel", "cluster":
		c.cfg.Server = "" // the product server takes one address
	default:
		return c, fmt.Errorf("-redis %q: it is single, sentinel or cluster", c.cfg.Redis)
	}
	switch c.cfg.Tracking {
	case "on":
	case "off":
		c.cfg.Server = "" // the product server works with tracking
	default:
		return c, fmt.Errorf("-tracking %q: it is on or off", c.cfg.Tracking)
	}
	switch c.cfg.Events {
	case "kafka":
	case "nats":
		c.cfg.Server = "" // the product server's worker works with Kafka
	default:
		return c, fmt.Errorf("-events %q: it is kafka or nats", c.cfg.Events)
	}
	if c.cfg.Hosts && c.cfg.Redis == "sentinel" {
		return c, errors.New("-hosts cannot be had with -redis sentinel: no link leads from a host to the Sentinels")
	}
	if c.cfg.Relayed && c.cfg.Tracking == "off" {
		return c, errors.New("-relayed needs tracking: without it an instance proves nothing without a Source")
	}
	if *only != "" {
		c.cfg.Faults = strings.Split(*only, ";")
	} else if c.cfg.Without != "" {
		c.cfg.Faults = chaos.Exposes(c.cfg.Without)
	}
	if c.cfg.Seed == 0 {
		c.cfg.Seed = rand.Uint64N(1 << 32)
	}
	c.cfg.Out = os.Stdout
	return c, nil
}

func run(ctx context.Context) (passed bool, err error) {
	c, err := parse(os.Args[1:])
	switch {
	case err != nil:
		return false, err
	case c.list:
		fmt.Println(strings.Join(chaos.Faults(), "\n"))
		return true, nil
	case c.judge != "":
		c.cfg.Dir = c.judge
		o, err := chaos.Judge(c.cfg)
		if err != nil {
			return false, err
		}
		o.Print(os.Stdout)
		return len(o.Failures()) == 0, nil
	}
	if err := prepare(ctx, &c.cfg); err != nil {
		return false, err
	}
	if c.tries > 0 {
		return ablations(ctx, c.cfg, c.rules, c.tries)
	}
	o, err := chaos.Run(ctx, c.cfg)
	if errors.Is(err, chaos.ErrNoHosts) { // nothing was started
		return false, errors.Join(err, os.RemoveAll(c.cfg.Dir))
	}
	if err != nil {
		return false, fmt.Errorf("%w (SEED=%d, histories and logs are in %s)", err, c.cfg.Seed, c.cfg.Dir)
	}
	o.Print(os.Stdout)
	passed = len(o.Failures()) == 0
	if !passed || c.keep {
		fmt.Printf("histories and logs are in %s; run it again with SEED=%d\n", c.cfg.Dir, c.cfg.Seed)
		return passed, nil
	}
	return passed, os.RemoveAll(c.cfg.Dir)
}

// prepare fetches Kafka if it is needed and missing, and makes the run's directory.
func prepare(ctx context.Context, cfg *chaos.Config) error {
	root, err := local.Root(".")
	if err != nil {
		return err
	}
	if cfg.Events == "kafka" {
		if cfg.Jars, err = fetchKafka(ctx, filepath.Join(root, ".services")); err != nil {
			return err
		}
	}
	cfg.Dir = filepath.Join(root, ".build", fmt.Sprintf("chaos-%d-%d", cfg.Seed, time.Now().Unix()))
	return os.MkdirAll(cfg.Dir, 0o755)
}

func fetchKafka(ctx context.Context, base string) (string, error) {
	unlock, err := local.Lock(base)
	if err != nil {
		return "", err
	}
	defer unlock()
	return local.FetchKafka(ctx, base, os.Stderr)
}
