package e2e

import (
	"os"
	"os/exec"
	"testing"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// TestExample_RedisOnly runs the program that README.md begins with.
func TestExample_RedisOnly(t *testing.T) {
	cmd := exec.Command("go", "run", "../../docs/examples/redis-only")
	cmd.Env = append(os.Environ(), "REDIS_ADDR="+servicestest.StartRedis(t).Addr)
	out, err := cmd.CombinedOutput()
	if want := "espresso\nristretto\n"; err != nil || string(out) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, out, want)
	}
}
