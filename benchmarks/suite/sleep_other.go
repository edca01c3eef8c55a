//go:build !linux

package suite

import "time"

// preciseSleep may take a millisecond or more.
func nap(d time.Duration) { time.Sleep(d) }
