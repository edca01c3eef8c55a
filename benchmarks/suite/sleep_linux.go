package suite

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps for less than a millisecond, which time.Sleep does not in a process that has nothing else to do: the runtime
// then waits in epoll, whose unit is the millisecond. A timer of the kernel's that is waited for in the same epoll does. A
// blocking nanosleep would too, but keep others of the process waiting: while the only thread that ran is inside it, nobody
// may be looking at the network, until after 10 ms the runtime's monitor does.
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
