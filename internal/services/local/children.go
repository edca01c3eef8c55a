//go:build unix

package local

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// Children are the ids of the processes that a process has started and that still run.
func Children(pid int) (children []int, err error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, fmt.Errorf("local: ps: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 2 || f[1] != strconv.Itoa(pid) {
			continue
		}
		child, err := strconv.Atoi(f[0])
		if err != nil {
			return nil, fmt.Errorf("local: ps printed %q", line)
		}
		children = append(children, child)
	}
	return children, nil
}
