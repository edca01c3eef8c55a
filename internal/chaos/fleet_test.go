//go:build unix

package chaos_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos"
)

// A short run on each Redis of several nodes: what happens to its nodes, and to those who talk to them.
func TestChaos_NodesBriefly(t *testing.T) {
	for kind, faults := range map[string][]string{
		"sentinel": {"nodes: a primary, kill -9"},
		"cluster":  {"nodes: slots move", "nodes: a primary, kill -9"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			o := run(t, chaos.Config{Redis: kind, Seed: 20261129, Times: len(faults), Faults: faults, Instances: 2,
				Readers: 4, Rate: 2000, Steady: 300 * time.Millisecond, MinShare: 0.3, ReopenWithin: 25 * time.Second})
			for _, f := range o.Failures() {
				t.Error(f)
			}
			if o.Report.Total.Checked < 3_000 || o.Writes < 20 {
				t.Errorf("%d reads of %d writes were checked: too few to say anything", o.Report.Total.Checked, o.Writes)
			}
		})
	}
}
