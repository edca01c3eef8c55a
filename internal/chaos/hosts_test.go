//go:build unix

package chaos_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos"
)

// TestChaos_HostsBriefly is a short run in which each instance has a network of its own, which loses packets. The seed
// is one by which no loss lasts longer than two seconds.
func TestChaos_HostsBriefly(t *testing.T) {
	faults := []string{"host: an instance is not heard", "host: an instance is cut off"}
	o := run(t, chaos.Config{Hosts: true, Seed: 20261146, Times: len(faults), Faults: faults, Instances: 2, Readers: 4,
		Rate: 1000, Steady: 300 * time.Millisecond, MinShare: 0.3, ReopenWithin: 25 * time.Second})
	for _, f := range o.Failures() {
		t.Error(f)
	}
	if o.Report.Total.Checked < 3_000 || o.Writes < 20 {
		t.Errorf("%d reads of %d writes were checked: too few to say anything", o.Report.Total.Checked, o.Writes)
	}
	for _, w := range o.History.Windows {
		if !strings.HasPrefix(w.Fault, "host: ") {
			continue
		}
		lost := 0
		for _, answers := range o.History.Answers {
			for _, a := range answers {
				if a.Invoke > w.From && a.Invoke < w.Healed &&
					(a.Failed || time.Duration(a.Return-a.Invoke) > 500*time.Millisecond) {
					lost++
				}
			}
		}
		if lost == 0 {
			t.Errorf("%s: every question was answered, so no packet was lost", w.Fault)
		}
	}
}

// TestChaos_HostsWithoutPrograms: where hosts cannot be made, the run says why, and starts nothing.
func TestChaos_HostsWithoutPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := chaos.Run(t.Context(), chaos.Config{Dir: t.TempDir(), Hosts: true})
	if !errors.Is(err, chaos.ErrNoHosts) || !strings.Contains(err.Error(), `"unshare"`) {
		t.Errorf("Run without the programs returned %v, want ErrNoHosts and the missing program", err)
	}
}
