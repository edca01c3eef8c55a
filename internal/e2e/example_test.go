package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// TestExample_RedisOnly runs the first program of a first user.
func TestExample_RedisOnly(t *testing.T) {
	src, err := os.ReadFile("../../docs/examples/redis-only/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(src), "\n"); n >= 25 {
		t.Errorf("it has %d lines; under 25 are promised", n)
	}
	cmd := exec.Command("go", "run", "../../docs/examples/redis-only")
	cmd.Env = append(os.Environ(), "REDIS_ADDR="+servicestest.StartRedis(t).Addr)
	out, err := cmd.CombinedOutput()
	if want := "espresso <nil>\n<nil>\nristretto <nil>\n"; err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}
