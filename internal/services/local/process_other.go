//go:build unix && !linux

package local

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// startTime is when a process began, as ps prints it: with the process id it names one process, up to a second.
func startTime(pid int) (start string, ok bool) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	state, begun, found := strings.Cut(strings.TrimSpace(string(out)), " ")
	if err != nil || !found || strings.HasPrefix(state, "Z") {
		return "", false
	}
	return strings.TrimSpace(begun), true
}

// bindToParent does nothing: only Linux can tie a child's life to its parent's.
func bindToParent(*syscall.SysProcAttr, syscall.Signal) {}

// onSpawnThread runs f: without a parent-death signal the thread does not matter.
func onSpawnThread(f func()) { f() }
