package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/compare"
)

// compareVersions fails if the working tree is slower than the old version, or allocates more.
func compareVersions(ctx context.Context, set *flag.FlagSet, args []string) error {
	p := compare.Plan{Log: os.Stderr}
	set.StringVar(&p.Old, "old", "", "the git reference of the old version; the new one is the working tree")
	set.StringVar(&p.Bench, "bench", "Hit|L2Hit|Miss",
		"the benchmarks, as in go test -bench; A/B selects sub-benchmarks")
	set.StringVar(&p.Package, "pkg", "nearcache", "the directory of the package below the root of the repository")
	set.IntVar(&p.Rounds, "rounds", 7, "how often each version runs")
	set.DurationVar(&p.BenchTime, "benchtime", 500*time.Millisecond, "how long each benchmark runs in a round")
	repo := set.String("repo", "..", "the root of the repository")
	tolerance := set.Float64("tolerance", 0.05, "the part by which the median of a metric may be worse")
	if err := set.Parse(args); err != nil {
		return err
	}
	if p.Old == "" || p.Rounds < 1 {
		return errors.New("compare: -old is empty, or -rounds is less than 1")
	}
	var err error
	if p.Repo, err = filepath.Abs(*repo); err != nil {
		return err
	}
	rounds, err := compare.Run(ctx, p)
	if err != nil {
		return err
	}
	rows, only := compare.Rows(rounds, *tolerance)
	if len(rows) == 0 {
		return errors.New("compare: no benchmark ran in both versions")
	}
	fmt.Printf("%s against the working tree, %d rounds in turns; medians, and the ratio of neighbouring runs.\n",
		p.Old, p.Rounds)
	fmt.Printf("Above 1 the new version needs less. WORSE: the median is worse by more than %.0f%%, and every round is\n"+
		"worse. Rows of code that did not change (bare, ristretto) show the noise of the machine.\n\n", 100**tolerance)
	if worse := compare.Print(os.Stdout, rows, only); worse > 0 {
		return fmt.Errorf("compare: worse than %[2]s in %[1]d rows", worse, p.Old)
	}
	return nil
}
