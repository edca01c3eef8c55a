// Command bench runs the benchmarks and writes their report.
//
//	bench run [-quick] [-only a,b] [-into DIR]      run benchmarks and save their results in DIR
//	bench run -only scale -old REF [-rounds N]      measure the fleet of two versions in turns
//	bench report [-from DIR] [-to DIR]              write REPORT.md and its plots from saved results
//	bench project [-from DIR] [-page FILE]          write docs/internals/scale.md from the results of scale
//	bench compare -old REF [-bench RE] [-rounds N]  run Go benchmarks of two versions in turns
//	bench list                                      list the benchmarks
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/project"
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
		return errors.New("usage: bench run | report | project | compare | list")
	}
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "run":
		o := runOptions{}
		set.BoolVar(&o.quick, "quick", false, "few and short rounds, fewer keys: enough to see that everything works")
		set.StringVar(&o.peers, "peers", "",
			"measure the freshness of these peers only, separated by semicolons; the result counts as quick")
		set.StringVar(&o.only, "only", "", "run these benchmarks only, comma-separated")
		set.StringVar(&o.old, "old", "",
			"measure scale with this version of the library too, a git reference, in turns with the working tree")
		set.IntVar(&o.rounds, "rounds", 2, "how often scale is measured; its figures are averages")
		set.StringVar(&o.sizes, "sizes", "", "the fleets that scale measures, by instances, comma-separated; 0 is needed")
		set.DurationVar(&o.window, "window", 6*time.Second, "how long scale counts at a time")
		set.StringVar(&o.repo, "repo", "..", "the root of the repository")
		set.StringVar(&o.into, "into", "results", "the directory for the results")
		set.StringVar(&o.profile, "cpuprofile", "",
			"write a CPU profile of this process to this file, for go tool pprof")
		set.StringVar(&o.data, "data", filepath.Join("..", ".services"),
			"the directory for the data of the servers while they run")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		return o.run(ctx)
	case "report":
		from := set.String("from", "results", "the directory with the results")
		to := set.String("to", ".", "the directory for the report")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		return report.Write(*from, *to)
	case "project":
		from := set.String("from", "results", "the directory with the results")
		page := set.String("page", filepath.Join("..", "docs", "internals", "scale.md"), "the page to bring up to date")
		if err := set.Parse(args[1:]); err != nil {
			return err
		}
		return project.Write(*from, *page)
	case "compare":
		return compareVersions(ctx, set, args[1:])
	case "worker": // run starts these processes for load that one process cannot make
		if len(args) != 2 {
			return errors.New("usage: bench worker ROLE")
		}
		return suite.Work(ctx, args[1], os.Stdin, os.Stdout)
	case "list":
		for _, b := range suite.All {
			fmt.Println(b.ID)
		}
		return nil
	}
	return fmt.Errorf("unknown command %q", args[0])
}
