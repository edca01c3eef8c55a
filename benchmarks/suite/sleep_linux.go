package suite

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// preciseSleep can sleep for less than a millisecond. time.Sleep cannot, in a process with nothing else to do: the
// runtime then waits in epoll, whose unit is the millisecond. A kernel timer in the same epoll is precise. So is a
// blocking nanosleep, but it can block the process: while the only running thread sleeps, nothing polls the network,
// until the runtime's monitor does so after 10 ms.
func preciseSleep(d time.Duration) {
	f, _ := kernelTimers.Get().(*os.File)
	if f == nil {
		time.Sleep(d)
		return
	}
	defer kernelTimers.Put(f)
	c, err := f.SyscallConn()
	if err == nil {
		set := c.Control(func(fd uintptr) {
			err = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(max(1,
				d.Nanoseconds()))}, nil)
		})
		if err == nil && set == nil {
			var expirations [8]byte
			if _, err = f.Read(expirations[:]); err == nil {
				return
			}
		}
	}
	time.Sleep(d)
}

var kernelTimers = sync.Pool{New: func() any {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return (*os.File)(nil)
	}
	return os.NewFile(uintptr(fd), "timer")
}}
