//go:build unix

package chaos_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos"
)

// TestChaos_NodesBriefly is a short run on a Cluster: what happens to its nodes, and to those who talk to them.
// `make chaos` has the fleet behind Sentinel too.
func TestChaos_NodesBriefly(t *testing.T) {
	faults := []string{"nodes: slots move", "nodes: a primary, kill -9"}
	o := run(t, chaos.Config{Redis: "cluster", Seed: 20261129, Times: len(faults), Faults: faults, Instances: 2,
		Readers: 4, Rate: 1000, Steady: 300 * time.Millisecond, MinShare: 0.3, ReopenWithin: 25 * time.Second})
	for _, f := range o.Failures() {
		t.Error(f)
	}
	if o.Report.Total.Checked < 3_000 || o.Writes < 20 {
		t.Errorf("%d reads of %d writes were checked: too few to say anything", o.Report.Total.Checked, o.Writes)
	}
}
