//go:build unix

package chaos_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/chaos"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// The fleet's processes are this program, started again.
func TestMain(m *testing.M) {
	if chaos.IsChild() {
		os.Exit(chaos.Child())
	}
	os.Exit(m.Run())
}

// run makes a run and returns what came of it.
func run(t *testing.T, cfg chaos.Config) *chaos.Outcome {
	t.Helper()
	out := placed(t, &cfg)
	o, err := chaos.Run(t.Context(), cfg)
	mayRun(t, err, out)
	o.Print(out)
	t.Logf("\n%s", out.String())
	return o
}

// placed gives a run its directories and its output. Histories and logs of a test that failed are kept.
func placed(t *testing.T, cfg *chaos.Config) *strings.Builder {
	t.Helper()
	root, err := local.Root(".")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Jars, _ = local.KafkaJars(filepath.Join(root, ".services"))
	build := filepath.Join(root, ".build")
	if err := os.MkdirAll(build, 0o755); err != nil {
		t.Fatal(err)
	}
	cfg.Dir, err = os.MkdirTemp(build, "chaos-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("histories and logs are in %s", cfg.Dir)
			return
		}
		if err := os.RemoveAll(cfg.Dir); err != nil {
			t.Error(err)
		}
	})
	out := new(strings.Builder)
	cfg.Out = out
	return out
}

// mayRun skips the test where a service is not installed, and fails it if a run could not be made.
func mayRun(t *testing.T, err error, out *strings.Builder) {
	t.Helper()
	switch {
	case errors.Is(err, local.ErrMissing):
		t.Skipf("needs a real Redis, Postgres and Kafka: run make test (%v)", err)
	case errors.Is(err, chaos.ErrNoHosts):
		t.Skip(err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out.String())
	}
}
