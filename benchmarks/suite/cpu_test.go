package suite

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestProcessCPU_ReadsPastACommandOfAnyName(t *testing.T) {
	got, err := processCPU("77 (a) b 1 2 (c) S 1 77 77 0 -1 4194560 900 0 3 0 150 25 9 9 20 0 5 0 1000 1 1")
	if want := 1750 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	if _, err := processCPU("77 (a) S 1"); err == nil {
		t.Error("an incomplete line: got no error")
	}
}

func TestMachineCPU_LeavesOutIdleTimeAndWaits(t *testing.T) {
	got, err := machineCPU("cpu  100 10 50 7000 900 5 15 20 3 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
	if want := 2 * time.Second; err != nil || got != want {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
	if _, err := machineCPU("intr 1\n"); err == nil {
		t.Error("a line of another kind: got no error")
	}
}

func TestReadCPU_SeesThisProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	pids := map[string][]int{"us": {os.Getpid()}}
	before, err := readCPU(pids)
	if err != nil {
		t.Fatal(err)
	}
	for used := time.Duration(0); used < 3*time.Second/ticks; { // ends when the kernel has counted it
		after, err := readCPU(pids)
		if err != nil {
			t.Fatal(err)
		}
		used = after.used["us"] - before.used["us"]
	}
	if _, err := readCPU(map[string][]int{"nobody": {1 << 30}}); err == nil {
		t.Error("a process that does not exist: got no error")
	}
}

func TestWhyCurveEnds_NamesTheCause(t *testing.T) {
	u := cpuUsage{cores: map[string]float64{"Redis": 0.9, "workers": 0.7, "Kafka": 0.01, otherPrograms: 0.3}, busy: 0.6}
	full := u
	full.busy = 0.97
	for _, test := range []struct {
		what string
		got  string
		want []string // "" alone: the curve goes on
	}{
		{"all reached", u.whyCurveEnds(saturatedPart, rateCheck{"reads", 100, 91}, rateCheck{"writes", 10, 10}),
			[]string{""}},
		{"a load not reached", u.whyCurveEnds(saturatedPart, rateCheck{"reads", 100, 100},
			rateCheck{"writes", 1000, 890}), []string{"890 of 1000 writes/s",
			"60% busy, most by Redis 0.90, then workers 0.70, then other programs 0.30"}},
		{"cores saturated", full.whyCurveEnds(saturatedPart, rateCheck{"reads", 100, 100}),
			[]string{"the cores are saturated", "97% busy, most by Redis"}},
	} {
		for _, want := range test.want {
			if want == "" && test.got != "" || !strings.Contains(test.got, want) {
				t.Errorf("%s: got %q, want %q in it", test.what, test.got, want)
			}
		}
	}
}

func TestUsageUntil_LeavesTheRestToOtherPrograms(t *testing.T) {
	from := cpuReadings{at: time.Unix(0, 0), used: map[string]time.Duration{"Redis": time.Second},
		busy: 10 * time.Second}
	to := cpuReadings{at: time.Unix(2, 0), used: map[string]time.Duration{"Redis": 2 * time.Second},
		busy: 11500 * time.Millisecond}
	u := from.usageUntil(to)
	if u.cores["Redis"] != 0.5 || u.cores[otherPrograms] != 0.25 {
		t.Errorf("got %v, want 0.5 for Redis and 0.25 for other programs", u.cores)
	}
}
