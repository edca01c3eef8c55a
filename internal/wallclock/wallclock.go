// Package wallclock reads the wall clock for code that compares it with the wall clocks of other processes: the expiry
// of a record in Redis. Step shifts it for this process alone, so that a test can set the clocks of several processes
// apart on one host. It does not touch the monotonic clock, by which everything else is measured.
package wallclock

import (
	"sync/atomic"
	"time"
)

// ahead is how far this process's wall clock is set ahead, in nanoseconds.
var ahead atomic.Int64

// At is what this process's wall clock shows at a moment that time.Now returned.
func At(now time.Time) time.Time { return now.Add(time.Duration(ahead.Load())) }

// Step sets the wall clock of this process ahead of the host's, or behind it if d is negative. Only tests call it.
func Step(d time.Duration) { ahead.Store(int64(d)) }
