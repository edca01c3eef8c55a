//go:build unix

package chaos_test

import (
	"slices"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos"
)

// TestChaos_Briefly is a short run of make chaos: a fault of each kind. What is asked of the speed of the machine is
// little; what is asked of the reads is everything.
func TestChaos_Briefly(t *testing.T) {
	faults := []string{
		"instance: stopped",
		"redis: fails over to a lagging replica",
		"relay: a zombie beside its successor",
		"instance: dies after a commit",
		"kafka: records deleted",
		"link: an instance, isolated",
		"redis: demoted, and the connections stand",
		"postgres: trigger disabled",
		"kafka: poison, no JSON",
		"instance: nested loads",
	}
	o := run(t, chaos.Config{Seed: 20261125, Times: len(faults), Faults: faults, Instances: 2, Readers: 4, Rate: 2000,
		Steady:   500 * time.Millisecond,
		MinShare: 0.5, ReopenWithin: 25 * time.Second})
	for _, f := range o.Failures() {
		t.Error(f)
	}
	if o.Audited < 200 {
		t.Errorf("%d reads were audited: too few to say anything", o.Audited)
	}
	if o.Report.Total.Checked < 10_000 || o.Writes < 50 {
		t.Errorf("%d reads of %d writes were checked: too few to say anything", o.Report.Total.Checked, o.Writes)
	}
}

func TestExposes_NamesFaults(t *testing.T) {
	for rule, faults := range chaos.Exposures() {
		for _, f := range faults {
			if !slices.Contains(chaos.Faults(), f) {
				t.Errorf("%s: there is no fault %q", rule, f)
			}
		}
	}
}

// TestChaos_MariaDBBriefly is a short run with MariaDB as the source, by what can happen to it.
func TestChaos_MariaDBBriefly(t *testing.T) {
	faults := []string{
		"mariadb: a transaction stays open",
		"mariadb: ids without rows",
		"relay: a zombie beside its successor",
		"mariadb: kill -9",
	}
	o := run(t, chaos.Config{Source: "mariadb", Seed: 20261128, Times: len(faults), Faults: faults, Instances: 2,
		Readers: 4, Rate: 2000, Steady: 500 * time.Millisecond, MinShare: 0.5, ReopenWithin: 25 * time.Second})
	for _, f := range o.Failures() {
		t.Error(f)
	}
	if o.Report.Total.Checked < 5_000 || o.Writes < 30 {
		t.Errorf("%d reads of %d writes were checked: too few to say anything", o.Report.Total.Checked, o.Writes)
	}
}
