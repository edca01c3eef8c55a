package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/services/local"
	"github.com/nearcache/nearcache-go/nearcache"
)

// What a cell says.
const (
	works    = "yes"
	refused  = "refused"
	fails    = "no"
	untried  = "not tried"
	cellTime = 5 * time.Minute
)

// buildTests compiles the tests of every package that a mode has, once, and returns the programs by package.
func buildTests(ctx context.Context, dir string) (map[string]string, error) {
	built := map[string]string{}
	for _, m := range modes {
		for _, s := range m.tests {
			if built[s.pkg] != "" {
				continue
			}
			program := filepath.Join(dir, filepath.Base(s.pkg)+".test")
			if _, err := runQuietly(ctx, "", nil, "go", "test", "-c", "-o", program, "./"+s.pkg); err != nil {
				return nil, err
			}
			built[s.pkg] = program
		}
	}
	return built, nil
}

// tryServer fills a row.
func tryServer(ctx context.Context, s server, tests map[string]string, tried []mode) row {
	r := row{Server: s.name}
	refusal := refusalOf(ctx, s)
	for _, m := range tried {
		c := cell{Mode: m.name}
		if refusal != "" && m.needs == "tracking" {
			c.State, c.Why = refused, refusal
		} else {
			c.State, c.Why = tryMode(ctx, s, m, tests)
		}
		r.Cells = append(r.Cells, c)
	}
	return r
}

// refusalOf is why New refuses the server with tracking, "" if it does not. What New does not know of the server is
// found by the tests.
func refusalOf(ctx context.Context, s server) string {
	dir, err := os.MkdirTemp("", "compat")
	if err != nil {
		return ""
	}
	defer os.RemoveAll(dir)
	restore := useServer(s)
	defer restore()
	running, err := local.StartRedis(ctx, dir, local.Launch{})
	if err != nil {
		return ""
	}
	defer running.Discard()
	c, err := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{running.Addr}}})
	if err != nil {
		_, why, _ := strings.Cut(err.Error(), coherence.ErrMisconfigured.Error()+": ")
		return strings.ReplaceAll(why, running.Addr, "ADDRESS")
	}
	_ = c.Close()
	return ""
}

// useServer has local.StartRedis start this one.
func useServer(s server) (restore func()) {
	before, had := os.LookupEnv(local.RedisServer)
	_ = os.Setenv(local.RedisServer, s.path)
	return func() {
		if had {
			_ = os.Setenv(local.RedisServer, before)
		} else {
			_ = os.Unsetenv(local.RedisServer)
		}
	}
}

// tryMode runs the mode's tests, and says how they ended.
func tryMode(ctx context.Context, s server, m mode, tests map[string]string) (state, why string) {
	var ended outcome
	for _, selection := range m.tests {
		ctx, stop := context.WithTimeout(ctx, cellTime)
		args := []string{"-test.v", "-test.count=1", "-test.run", selection.run}
		if selection.skip != "" {
			args = append(args, "-test.skip", selection.skip)
		}
		cmd := exec.CommandContext(ctx, tests[selection.pkg], args...)
		cmd.Dir = selection.pkg
		cmd.Env = append(os.Environ(), local.RedisServer+"="+s.path)
		out, err := cmd.CombinedOutput()
		stop()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			return fails, err.Error()
		}
		ended.read(string(out), err == nil)
	}
	return ended.state()
}

// outcome is what the tests of a cell said.
type outcome struct {
	passed int // tests of which no part was skipped
	failed []string
	reason string // of a skip
	died   bool   // a program ended without the word of a failed test
}

var testLine = regexp.MustCompile(`^( *)--- (PASS|FAIL|SKIP): (\S+)`)

// read takes the output of one program with -test.v.
func (o *outcome) read(out string, ok bool) {
	failedBefore := len(o.failed)
	if strings.Contains(out, "testing: warning: no tests to run") {
		o.failed = append(o.failed, "no test fits")
	}
	lines := strings.Split(out, "\n")
	passed, skipped := map[string]bool{}, map[string]bool{} // by the name of the whole test
	for i, line := range lines {
		m := testLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		whole, _, part := strings.Cut(m[3], "/")
		switch {
		case m[2] == "FAIL":
			o.failed = append(o.failed, m[3])
		case m[2] == "SKIP":
			skipped[whole] = true
			// With -test.v what a skip says comes before its line.
			if i > 0 {
				o.reason = afterFile(lines[i-1])
			}
		case !part:
			passed[whole] = true
		}
	}
	for name := range passed {
		if !skipped[name] {
			o.passed++
		}
	}
	o.died = o.died || !ok && len(o.failed) == failedBefore
}

var filePrefix = regexp.MustCompile(`^\s*\w+\.go:\d+: `)

func afterFile(line string) string { return filePrefix.ReplaceAllString(line, "") }

// state is the cell. A test that skips has tried nothing, so a cell whose tests have all skipped is not tried.
func (o *outcome) state() (state, why string) {
	switch {
	case len(o.failed) > 0:
		leaves := slices.DeleteFunc(slices.Clone(o.failed), func(name string) bool {
			return slices.ContainsFunc(o.failed, func(other string) bool { return strings.HasPrefix(other, name+"/") })
		})
		slices.Sort(leaves)
		return fails, fmt.Sprintf("%d failed: %s", len(leaves), strings.Join(leaves, ", "))
	case o.died:
		return fails, "the tests ended without a word"
	case o.passed == 0:
		return untried, o.reason
	}
	return works, ""
}
