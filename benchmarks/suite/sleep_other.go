//go:build !linux

package suite

import "time"

// nap may take a millisecond at the least.
func nap(d time.Duration) { time.Sleep(d) }
