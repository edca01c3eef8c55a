package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/suite"
)

// runOptions are the flags of `bench run`.
type runOptions struct {
	quick       bool
	only, peers string
	repo, old   string
	rounds      int
	sizes       string
	window      time.Duration
	into, data  string
	profile     string
}

func (o runOptions) run(ctx context.Context) (err error) {
	stop, err := profileTo(o.profile)
	if err != nil {
		return err
	}
	defer stop()
	data, err := filepath.Abs(o.data)
	if err != nil {
		return err
	}
	wanted, err := selected(o.only)
	if err != nil {
		return err
	}
	e, err := suite.NewEnv(data, o.quick, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if e.Repo, err = filepath.Abs(o.repo); err != nil {
		return err
	}
	e.Old, e.Rounds, e.Window = o.old, max(1, o.rounds), o.window
	for size := range strings.SplitSeq(o.sizes, ",") {
		if size == "" {
			continue
		}
		n, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("-sizes: %w", err)
		}
		e.Sizes = append(e.Sizes, n)
	}
	if o.peers != "" {
		e.Peers = strings.Split(o.peers, ";") // a name may have a comma
	}
	if err := measure.ThisMachine().Save(o.into); err != nil {
		return err
	}
	for i, b := range suite.All {
		if wanted != nil && !slices.Contains(wanted, b.ID) || wanted == nil && o.quick && b.Long {
			continue
		}
		start := time.Now()
		s, err := b.Run(ctx, e)
		if err != nil {
			return fmt.Errorf("%s: %w", b.ID, err)
		}
		s.ID, s.Order, s.Quick = b.ID, i, o.quick || o.peers != ""
		s.Seconds, s.Date = time.Since(start).Seconds(), start.UTC().Format(time.DateOnly)
		if err := s.Save(o.into); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%-16s %6.1f s\n", b.ID, s.Seconds)
	}
	return nil
}

// selected splits a list of benchmarks and checks their names. It returns nil for an empty list, which means all.
func selected(only string) ([]string, error) {
	if only == "" {
		return nil, nil
	}
	wanted := strings.Split(only, ",")
	for _, w := range wanted {
		if !slices.ContainsFunc(suite.All, func(b suite.Bench) bool { return b.ID == w }) {
			return nil, fmt.Errorf("unknown benchmark %q; see `bench list`", w)
		}
	}
	return wanted, nil
}

// profileTo starts a CPU profile if file is not empty.
func profileTo(file string) (stop func(), err error) {
	if file == "" {
		return func() {}, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: the profile:", err)
		}
	}, nil
}
