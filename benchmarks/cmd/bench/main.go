// Command bench runs the benchmarks and writes their report.
//
//	bench run [-quick] [-only a,b] [-into DIR]    run benchmarks, and leave what each gave in DIR
//	bench report [-from DIR] [-to DIR]            write REPORT.md and its plots from that
//	bench list                                    name the benchmarks
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/report"
	"github.com/nearcache/nearcache-go/benchmarks/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: bench run | report | list")
	}
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "run":
		quick := set.Bool("quick", false, "few and short rounds, fewer keys: enough to see that it works")
		these := set.String("peers", "", "freshness of these peers alone, comma-separated; the result counts as quick")
		only := set.String("only", "", "these benchmarks alone, comma-separated")
		into := set.String("into", "results", "where the results go")
		profile := set.String("cpuprofile", "", "write a profile of this process here, for go tool pprof")
		data := set.String("data", filepath.Join("..", ".services"), "where servers keep their data while they run")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		if *profile != "" {
			f, err := os.Create(*profile)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := pprof.StartCPUProfile(f); err != nil {
				return err
			}
			defer pprof.StopCPUProfile()
		}
		return run(ctx, *quick, *only, *these, *into, *data)
	case "report":
		from := set.String("from", "results", "where the results are")
		to := set.String("to", ".", "where the report goes")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		return report.Write(*from, *to)
	case "worker": // started by run, for the load that takes several processes
		if len(args) != 2 {
			return errors.New("a worker has a role")
		}
		return suite.Work(ctx, args[1], os.Stdin, os.Stdout)
	case "list":
		for _, b := range suite.All {
			fmt.Println(b.ID)
		}
		return nil
	}
	return fmt.Errorf("there is no command %q", args[0])
}

func run(ctx context.Context, quick bool, only, these, into, data string) (err error) {
	data, err = filepath.Abs(data)
	if err != nil {
		return err
	}
	var wanted []string
	if only != "" {
		wanted = strings.Split(only, ",")
	}
	for _, w := range wanted {
		if !slices.ContainsFunc(suite.All, func(b suite.Bench) bool { return b.ID == w }) {
			return fmt.Errorf("there is no benchmark %q", w)
		}
	}
	e, err := suite.NewEnv(data, quick, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if these != "" {
		e.Peers = strings.Split(these, ",")
	}
	if err := measure.ThisMachine().Save(into); err != nil {
		return err
	}
	for i, b := range suite.All {
		if wanted != nil && !slices.Contains(wanted, b.ID) || wanted == nil && quick && b.Long {
			continue
		}
		begun := time.Now()
		s, err := b.Run(ctx, e)
		if err != nil {
			return fmt.Errorf("%s: %w", b.ID, err)
		}
		s.ID, s.Order, s.Quick, s.Seconds, s.Date = b.ID, i, quick || these != "", time.Since(begun).Seconds(), begun.UTC().Format(time.DateOnly)
		if err := s.Save(into); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%-16s %6.1f s\n", b.ID, s.Seconds)
	}
	return nil
}
