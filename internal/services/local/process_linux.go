package local

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// startTime is when a process began, in the kernel's clock ticks since boot: with the process id it names one process
// for the life of the machine. ok is false when there is no such process, or only its zombie.
func startTime(pid int) (start string, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	// The second field is the command's name in parentheses and may itself hold spaces and parentheses.
	_, rest, found := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return "", false
	}
	return fields[19], true
}

// bindToParent has the kernel end the process with sig when its parent dies.
func bindToParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// The kernel means the parent's *thread*: a child whose starting goroutine's thread ends is signalled although the
// program lives on. So every child is started on one thread that is never given back.
var spawner struct {
	once sync.Once
	work chan func()
}

// onSpawnThread runs f on the thread whose end is the end of the program.
func onSpawnThread(f func()) {
	spawner.once.Do(func() {
		spawner.work = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range spawner.work {
				f()
			}
		}()
	})
	done := make(chan struct{})
	spawner.work <- func() { defer close(done); f() }
	<-done
}
