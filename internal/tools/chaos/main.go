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

func run(ctx context.Context) (passed bool, err error) {
	cfg := chaos.Config{Out: os.Stdout}
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	fs.DurationVar(&cfg.Duration, "duration", time.Minute, "for how long faults are injected")
	fs.Uint64Var(&cfg.Seed, "seed", 0, "of schedule, keys and writes; 0: by chance")
	fs.StringVar(&cfg.Without, "without", "", "a rule to take out (needs -tags ablate)")
	fs.Float64Var(&cfg.Rate, "rate", 0, "reads a second and instance")
	fs.Float64Var(&cfg.Writes, "writes", 0, "writes a second of each writing process")
	fs.IntVar(&cfg.Keys, "keys", 0, "how many keys")
	fs.StringVar(&cfg.Server, "server", "", "the program product-server, to be asked over HTTP besides")
	fs.BoolVar(&cfg.Heavy, "heavy", false, "also the faults that take minutes")
	keep := fs.Bool("keep", false, "keep histories and logs of a run that passed")
	again := fs.String("judge", "", "judge the histories in this directory again, and run nothing")
	list := fs.Bool("list", false, "list the faults")
	only := fs.String("faults", "", "only these faults, separated by semicolons, in this order")
	if err := fs.Parse(os.Args[1:]); err != nil {
		return false, err
	}
	if *again != "" {
		cfg.Dir = *again
		o, err := chaos.Judge(cfg)
		if err != nil {
			return false, err
		}
		o.Print(os.Stdout)
		return len(o.Failures()) == 0, nil
	}
	if *list {
		fmt.Println(strings.Join(chaos.Faults(), "\n"))
		return true, nil
	}
	if *only != "" {
		cfg.Faults = strings.Split(*only, ";")
	} else if cfg.Without != "" {
		cfg.Faults = chaos.Exposes(cfg.Without)
	}
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64N(1 << 32)
	}
	root, err := local.Root(".")
	if err != nil {
		return false, err
	}
	base := filepath.Join(root, ".services")
	unlock, err := local.Lock(base)
	if err != nil {
		return false, err
	}
	cfg.Jars, err = local.FetchKafka(ctx, base, os.Stderr)
	unlock()
	if err != nil {
		return false, err
	}
	cfg.Dir = filepath.Join(root, ".build", fmt.Sprintf("chaos-%d-%d", cfg.Seed, time.Now().Unix()))
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return false, err
	}
	o, err := chaos.Run(ctx, cfg)
	if err != nil {
		return false, fmt.Errorf("%w (SEED=%d, histories and logs are in %s)", err, cfg.Seed, cfg.Dir)
	}
	o.Print(os.Stdout)
	passed = len(o.Failures()) == 0
	if !passed || *keep {
		fmt.Printf("histories and logs are in %s; run it again with SEED=%d\n", cfg.Dir, cfg.Seed)
		return passed, nil
	}
	return passed, os.RemoveAll(cfg.Dir)
}
