package suite

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ticks is the number of ticks per second in /proc.
const ticks = 100

// cpuReadings is the processor time used so far, by name of the processes and by the whole machine.
type cpuReadings struct {
	at   time.Time
	used map[string]time.Duration
	busy time.Duration // of all cores, by any process
}

func readCPU(pids map[string][]int) (r cpuReadings, err error) {
	r.used, r.at = map[string]time.Duration{}, time.Now()
	for name, ids := range pids {
		for _, pid := range ids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				return r, fmt.Errorf("suite: processor time of %s: %w", name, err)
			}
			d, err := processCPU(string(b))
			if err != nil {
				return r, fmt.Errorf("suite: processor time of %s: %w", name, err)
			}
			r.used[name] += d
		}
	}
	return r, r.readMachine()
}

// readClocks is readCPU by the clocks of processes, which are exact. trees are processes whose children count as well.
func readClocks(pids map[string][]int, trees map[string]int) (r cpuReadings, err error) {
	r.used, r.at = map[string]time.Duration{}, time.Now()
	for name, ids := range pids {
		for _, pid := range ids {
			d, err := processClock(pid)
			if err != nil {
				return r, fmt.Errorf("%s: %w", name, err)
			}
			r.used[name] += d
		}
	}
	for name, pid := range trees {
		if r.used[name], err = treeClock(pid); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
	}
	return r, r.readMachine()
}

func (r *cpuReadings) readMachine() error {
	b, err := os.ReadFile("/proc/stat")
	if err == nil {
		r.busy, err = machineCPU(string(b))
	}
	return err
}

// processCPU returns the user and system time in the stat file of a process. The name of its command, in parentheses,
// may contain any character.
func processCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("%d fields after the command", len(fields))
	}
	return sumTicks(fields[11], fields[12])
}

// machineCPU returns the time of all cores in the stat file of the machine, without idle time and waits for disks. Time
// that the hypervisor took counts as used, since no process here could use it.
func machineCPU(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, errors.New("suite: no processor times in /proc/stat")
	}
	return sumTicks(slices.Concat(fields[1:4], fields[6:9])...)
}

func sumTicks(fields ...string) (d time.Duration, err error) {
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		d += time.Duration(n) * time.Second / ticks
	}
	return d, nil
}

// otherPrograms is the name of all processes that are not read.
const otherPrograms = "other programs"

// cpuUsage is the processor time between two readings, in cores.
type cpuUsage struct {
	cores map[string]float64
	busy  float64 // the used part of all cores
}

func (r cpuReadings) usageUntil(later cpuReadings) cpuUsage {
	took := later.at.Sub(r.at).Seconds()
	u := cpuUsage{cores: map[string]float64{}}
	ours := 0.0
	for name, d := range later.used {
		u.cores[name] = (d - r.used[name]).Seconds() / took
		ours += u.cores[name]
	}
	all := (later.busy - r.busy).Seconds() / took
	u.cores[otherPrograms] = max(0, all-ours)
	u.busy = min(1, all/float64(runtime.NumCPU()))
	return u
}

// rateCheck is the wanted rate of a load, and the rate it had.
type rateCheck struct {
	what      string
	want, got float64
}

const (
	saturatedPart = 0.95 // busier cores are saturated
	reachedPart   = 0.9  // a slower load is a different load
)

// whyCurveEnds returns why a curve ends at a point: a load was not reached, or the cores are busier than full. It names
// the processes that used most, and is "" for a good point.
func (u cpuUsage) whyCurveEnds(full float64, paces ...rateCheck) string {
	var why []string
	for _, p := range paces {
		if p.got < reachedPart*p.want {
			why = append(why, fmt.Sprintf("%.0f of %.0f %s/s", p.got, p.want, p.what))
		}
	}
	if u.busy > full {
		why = append(why, "the cores are saturated")
	}
	if why == nil {
		return ""
	}
	by := slices.SortedFunc(maps.Keys(u.cores), func(a, b string) int {
		return cmp.Or(cmp.Compare(u.cores[b], u.cores[a]), cmp.Compare(a, b))
	})
	for i, name := range by {
		by[i] = fmt.Sprintf("%s %.2f", name, u.cores[name])
	}
	return fmt.Sprintf("%s; cores %.0f%% busy, most by %s", strings.Join(why, ", "), 100*u.busy,
		strings.Join(by[:min(3, len(by))], ", then "))
}
