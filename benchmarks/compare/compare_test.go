package compare_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/compare"
)

func TestParse_TakesEveryMetricOfAResult(t *testing.T) {
	got, err := compare.Parse(strings.NewReader(`goos: linux
BenchmarkHit/keys=1000/nearcache-2   1000	 69.5 ns/op	 3 cpu-ns/op	 0 B/op	 0 allocs/op
BenchmarkLog logs this line and more
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	m := got["BenchmarkHit/keys=1000/nearcache-2"]
	if len(got) != 1 || m["ns/op"] != 69.5 || m["cpu-ns/op"] != 3 || len(m) != 4 {
		t.Errorf("got %v, want one benchmark with four metrics", got)
	}
	if _, err := compare.Parse(strings.NewReader("BenchmarkX-2 10 many ns/op\n")); err == nil {
		t.Error("a value that is not a number: got no error")
	}
}

func TestRows_JudgesTheMedianAndEveryRound(t *testing.T) {
	round := func(before, after float64) compare.Round {
		return compare.Round{Old: compare.Results{"BenchmarkX-2": {"ns/op": before}},
			New: compare.Results{"BenchmarkX-2": {"ns/op": after}}}
	}
	for _, test := range []struct {
		name   string
		rounds []compare.Round
		want   compare.Verdict
	}{
		{"slower in every round", []compare.Round{round(100, 120), round(100, 110), round(100, 130)}, compare.Worse},
		{"slower, but not in every round", []compare.Round{round(100, 120), round(100, 99), round(100, 130)},
			compare.Same},
		{"slower within the tolerance", []compare.Round{round(100, 102), round(100, 103), round(100, 101)},
			compare.Same},
		{"faster in every round", []compare.Round{round(120, 100), round(110, 100), round(130, 100)}, compare.Better},
		{"an allocation more", []compare.Round{round(0, 1), round(0, 1)}, compare.Worse},
		{"no allocation on either side", []compare.Round{round(0, 0), round(0, 0)}, compare.Same},
	} {
		rows, only := compare.Rows(test.rounds, 0.05)
		if len(rows) != 1 || len(only) != 0 || rows[0].Verdict != test.want {
			t.Errorf("%s: got %+v and %v, want the verdict %q", test.name, rows, only, test.want)
		}
	}
}

func TestRows_LeavesOutABenchmarkThatOneVersionLacks(t *testing.T) {
	r := compare.Round{Old: compare.Results{}, New: compare.Results{"BenchmarkX-2": {"ns/op": 1}}}
	if rows, only := compare.Rows([]compare.Round{r}, 0.05); len(rows) != 0 || len(only) != 1 ||
		only[0] != "BenchmarkX-2" {
		t.Errorf("got rows %v and only %v, want no row and BenchmarkX-2", rows, only)
	}
}

// TestRun_FindsWhatTheNewVersionLost compares two commits of a module whose new version allocates.
func TestRun_FindsWhatTheNewVersionLost(t *testing.T) {
	repo := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(repo, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write("go.mod", "module example.org/x\n\ngo 1.26\n")
	write("x.go", "package x\n\nfunc New() *[64]byte { return nil }\n")
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "old")
	write("x.go", "package x\n\nfunc New() *[64]byte { return new([64]byte) }\n")
	// The old version does not have this file.
	write("x_bench_test.go", `package x

import "testing"

var sink *[64]byte

func BenchmarkNew(b *testing.B) {
	for range b.N {
		sink = New()
	}
}
`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rounds, err := compare.Run(ctx, compare.Plan{Repo: repo, Old: "HEAD", Package: ".", Bench: "New", Rounds: 2,
		BenchTime: time.Millisecond, Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	rows, only := compare.Rows(rounds, 0.05)
	found := false
	for _, r := range rows {
		found = found || r.Unit == "allocs/op" && r.Verdict == compare.Worse && r.Old.Median == 0 && r.New.Median == 1
	}
	if !found || len(only) != 0 {
		t.Errorf("got %+v and %v, want one more allocation in the new version", rows, only)
	}
	var table strings.Builder
	if worse := compare.Print(&table, rows, only); worse == 0 || !strings.Contains(table.String(), "WORSE") {
		t.Errorf("got %d worse rows and %q, want a row that says WORSE", worse, table.String())
	}
	trees, err := exec.Command("git", "-C", repo, "worktree", "list").Output()
	if err != nil || strings.Count(string(trees), "\n") != 1 {
		t.Errorf("got worktrees %q and error %v, want the repository's own alone", trees, err)
	}
}
