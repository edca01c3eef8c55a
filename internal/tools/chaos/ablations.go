//go:build unix

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos"
)

// ablations takes out one rule after another: those that are named, or all for which a fault is known that shows it. It
// passes if a run broke a guarantee without each. Otherwise the histories and logs of such runs stay.
func ablations(ctx context.Context, cfg chaos.Config, rules []string, tries int) (passed bool, err error) {
	if len(rules) == 0 {
		rules = slices.Sorted(maps.Keys(chaos.Exposures()))
	}
	cfg.Server = "" // the other program has all its rules
	var unnoticed []string
	for _, rule := range rules {
		var out strings.Builder
		cfg.Out = &out
		begun := time.Now()
		broken, run, err := chaos.Notice(ctx, cfg, rule, tries)
		took := time.Since(begun).Round(time.Second)
		switch {
		case err != nil:
			return false, fmt.Errorf("without %s: %w\n%s", rule, err, out.String())
		case run == 0:
			unnoticed = append(unnoticed, rule)
			fmt.Printf("%-27s %d runs broke nothing, in %v\n", rule, tries, took)
		default:
			fmt.Printf("%-27s run %d broke %v, in %v\n", rule, run, broken, took)
		}
	}
	fmt.Printf("without %d of %d rules a run broke a guarantee\n", len(rules)-len(unnoticed), len(rules))
	if len(unnoticed) > 0 {
		fmt.Printf("nothing broke without %s; histories and logs are in %s\n", strings.Join(unnoticed, ", "), cfg.Dir)
		return false, nil
	}
	return true, os.RemoveAll(cfg.Dir)
}
