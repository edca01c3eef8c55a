//go:build unix

package local_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// startRedis starts a detached redis-server with its record noted in r.
func startRedis(t *testing.T, r *local.Run) local.Record {
	t.Helper()
	dir, err := r.Data("redis")
	if err != nil {
		t.Fatal(err)
	}
	s, err := local.StartRedis(t.Context(), dir, local.Launch{Detached: true, Started: func(rec local.Record) {
		if err := r.Note(rec); err != nil {
			t.Error(err)
		}
	}})
	if errors.Is(err, local.ErrMissing) {
		t.Skipf("needs a real Redis: set NEARCACHE_TEST_REDIS, or run make test (%v)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return r.Records()[0]
}

func TestSweep_EndsWhatADeadRunLeftAndNothingElse(t *testing.T) {
	base := t.TempDir()

	// A run whose owner lives: this test.
	mine, err := local.NewRun(base)
	if err != nil {
		t.Fatal(err)
	}
	kept := startRedis(t, mine)

	// A run of a process that was there and is gone, under the same process id as before or not.
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	var left []local.Record
	for _, owner := range []string{
		strconv.Itoa(gone.Process.Pid) + "-123",
		strconv.Itoa(os.Getpid()) + "-1", // this process's id, but of one that began at another time
	} {
		r, err := local.NewRun(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, startRedis(t, r))
		if err := os.Rename(r.Dir, filepath.Join(base, "run-"+owner)); err != nil {
			t.Fatal(err)
		}
	}

	swept, err := local.Sweep(base)
	if err != nil {
		t.Fatal(err)
	}
	if swept != 2 {
		t.Errorf("swept %d runs, want 2", swept)
	}
	for _, rec := range left {
		if rec.Alive() {
			t.Errorf("process %d of a dead run lives", rec.Pid)
		}
	}
	if !kept.Alive() {
		t.Error("the server of a living run was ended")
	}
	if dirs, _ := filepath.Glob(filepath.Join(base, "run-*")); len(dirs) != 1 || dirs[0] != mine.Dir {
		t.Errorf("run directories left: %v, want %s", dirs, mine.Dir)
	}
	if err := mine.Remove(); err != nil {
		t.Fatal(err)
	}
	if kept.Alive() {
		t.Error("Remove left a server running")
	}
}

func TestKillRecord_SparesAProcessThatOnlyHasTheNumber(t *testing.T) {
	r, err := local.NewRun(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	rec := startRedis(t, r)
	other := rec
	other.Start = rec.Start + "1"
	if err := local.KillRecord(other); err != nil {
		t.Fatal(err)
	}
	if !rec.Alive() {
		t.Fatal("a process was ended by its number alone")
	}
	if err := local.KillRecord(rec); err != nil {
		t.Fatal(err)
	}
	if rec.Alive() {
		t.Error("the recorded process lives")
	}
}

func TestStartRedis_ReportsWhyItDidNotStart(t *testing.T) {
	_, err := local.StartRedis(context.Background(), t.TempDir(), local.Launch{}, "--maxmemory", "no-number")
	if errors.Is(err, local.ErrMissing) {
		t.Skipf("needs a real Redis: set NEARCACHE_TEST_REDIS, or run make test (%v)", err)
	}
	if err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("error %v; want the words of the server's log", err)
	}
}

func TestStartKafka_NamesWhatIsMissing(t *testing.T) {
	if _, err := local.StartKafka(t.Context(), t.TempDir(), t.TempDir(), local.Launch{}); !errors.Is(err,
		local.ErrMissing) {
		t.Errorf("without jars: %v, want ErrMissing", err)
	}
	t.Setenv("PATH", t.TempDir())
	_, err := local.StartKafka(t.Context(), t.TempDir(), t.TempDir(), local.Launch{})
	if !errors.Is(err, local.ErrMissing) || !strings.Contains(err.Error(), "default-jre-headless") {
		t.Errorf("without java: %v, want ErrMissing with the package's name", err)
	}
	if _, err := local.StartRedis(t.Context(), t.TempDir(), local.Launch{}); !errors.Is(err, local.ErrMissing) {
		t.Errorf("without redis-server: %v, want ErrMissing", err)
	}
}
