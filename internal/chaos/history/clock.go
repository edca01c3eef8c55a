//go:build unix

package history

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock gives the host's monotonic time in nanoseconds, comparable between processes of one host.
//
// Go's monotonic clock counts from somewhere in the process's start, and is read without a system call. So its
// distance to CLOCK_MONOTONIC is taken once, between two readings of one clock; the closest of many tries counts,
// since a process may lose the processor between any two.
type Clock struct {
	base   time.Time
	offset int64
	// Error bounds how far the clock is off.
	Error time.Duration
}

// NewClock measures the offset.
func NewClock() Clock {
	c := Clock{Error: time.Hour}
	for range 1000 {
		before := monotonic()
		base := time.Now()
		after := monotonic()
		if d := time.Duration(after - before); d < c.Error {
			c = Clock{base: base, offset: before + (after-before)/2, Error: d}
		}
	}
	return c
}

// Now is the time now.
func (c Clock) Now() int64 { return c.offset + int64(time.Since(c.base)) }

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("history: CLOCK_MONOTONIC: " + err.Error())
	}
	return ts.Nano()
}
