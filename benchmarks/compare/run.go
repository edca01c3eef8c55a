package compare

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Plan says which benchmarks of which versions run, and how often.
type Plan struct {
	Repo      string        // the root of the git working tree, whose files are the new version
	Old       string        // the git reference of the old version
	Package   string        // the package's directory below the root
	Bench     string        // a regular expression as `go test -bench` takes it, which may name sub-benchmarks
	Rounds    int           // how often each version runs
	BenchTime time.Duration // how long a benchmark runs in a round
	Log       io.Writer
}

// binary is a test binary and the directory where it runs.
type binary struct{ path, dir string }

// Run builds both versions and runs them in turns. Each round begins with the version that the last one ended with, so
// that neither is always the first.
func Run(ctx context.Context, p Plan) (rounds []Round, err error) {
	dir, err := os.MkdirTemp("", "bench-compare-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tree := filepath.Join(dir, "old")
	if _, err := command(ctx, p.Repo, "git", "worktree", "add", "--quiet", "--detach", tree, p.Old); err != nil {
		return nil, err
	}
	defer func() {
		_, removeErr := command(context.WithoutCancel(ctx), p.Repo, "git", "worktree", "remove", "--force", tree)
		err = errors.Join(err, removeErr)
	}()
	if err := p.copyMissing(tree); err != nil {
		return nil, err
	}
	before, err := build(ctx, tree, p.Package, filepath.Join(dir, "old.test"))
	if err != nil {
		return nil, fmt.Errorf("compare: the old version: %w", err)
	}
	after, err := build(ctx, p.Repo, p.Package, filepath.Join(dir, "new.test"))
	if err != nil {
		return nil, fmt.Errorf("compare: the new version: %w", err)
	}
	top, sub, _ := strings.Cut(p.Bench, "/")
	list, err := command(ctx, after.dir, after.path, "-test.list", top)
	if err != nil {
		return nil, err
	}
	names := topLevel(list)
	if len(names) == 0 {
		return nil, fmt.Errorf("compare: no benchmark of %s matches %q", p.Package, top)
	}
	rounds = make([]Round, p.Rounds)
	for _, name := range names {
		pattern := "^" + name + "$"
		if sub != "" {
			pattern += "/" + sub
		}
		if err := p.turns(ctx, rounds, name, pattern, before, after); err != nil {
			return nil, err
		}
	}
	return rounds, nil
}

// turns runs one benchmark of both versions, round after round.
func (p Plan) turns(ctx context.Context, rounds []Round, name, pattern string, before, after binary) error {
	for i := range rounds {
		r := &rounds[i]
		if r.Old == nil {
			r.Old, r.New = Results{}, Results{}
		}
		order := []struct {
			version string
			bin     binary
			into    Results
		}{{"old", before, r.Old}, {"new", after, r.New}}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, o := range order {
			fmt.Fprintf(p.Log, "%s, round %d of %d, %s\n", name, i+1, len(rounds), o.version)
			out, err := command(ctx, o.bin.dir, o.bin.path, "-test.run", "^$", "-test.bench", pattern, "-test.benchmem",
				"-test.benchtime", p.BenchTime.String())
			if err != nil {
				return err
			}
			got, err := Parse(strings.NewReader(out))
			if err != nil {
				return err
			}
			for benchmark, metrics := range got {
				o.into[benchmark] = metrics
			}
		}
	}
	return nil
}

// copyMissing gives the old tree the benchmark files that it lacks, so that a new benchmark can judge the old code.
func (p Plan) copyMissing(tree string) error {
	files, err := filepath.Glob(filepath.Join(p.Repo, p.Package, "*_bench_test.go"))
	if err != nil {
		return err
	}
	for _, f := range files {
		to := filepath.Join(tree, p.Package, filepath.Base(f))
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.Log, "%s is not in the old version: copied into it\n", filepath.Base(f))
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func build(ctx context.Context, tree, pkg, out string) (binary, error) {
	_, err := command(ctx, tree, "go", "test", "-c", "-o", out, "./"+filepath.ToSlash(pkg))
	return binary{out, filepath.Join(tree, pkg)}, err
}

// command runs a program and returns its standard output. The error holds all of its output.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	var out, all bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, io.MultiWriter(&out, &all), &all
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("compare: %s: %w\n%s", filepath.Base(name), err, all.String())
	}
	return out.String(), nil
}
