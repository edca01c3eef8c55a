package suite

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// processClock returns the processor time of a process and its threads, by the nanosecond: /proc has ticks of 10 ms,
// which are too coarse for a process that is nearly idle.
func processClock(pid int) (time.Duration, error) {
	var t unix.Timespec
	// The id of a process's clock, as clock_getcpuclockid makes it.
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil {
		return 0, fmt.Errorf("suite: processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// treeClock returns the processor time of a process and of its children, dead or alive. The time of dead ones is in
// ticks.
func treeClock(pid int) (d time.Duration, err error) {
	if d, err = processClock(pid); err != nil {
		return 0, err
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	if len(fields) < 15 {
		return 0, fmt.Errorf("suite: processor time of process %d: %d fields", pid, len(fields))
	}
	dead, err := sumTicks(fields[13], fields[14])
	if err != nil {
		return 0, err
	}
	children, err := local.Children(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		if alive, err := processClock(child); err == nil { // it may have died since
			d += alive
		}
	}
	return d + dead, nil
}
