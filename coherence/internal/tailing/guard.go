// Package tailing is what the event channels have in common.
package tailing

import (
	"errors"
	"fmt"
	"time"
)

// Throttle lets a line a second pass into the log: somebody else's messages decide how many there are.
type Throttle struct{ last time.Time }

// Pass reports whether a line may be written now.
func (t *Throttle) Pass() bool {
	if now := time.Now(); t.last.IsZero() || now.Sub(t.last) >= time.Second {
		t.last = now
		return true
	}
	return false
}

// Each calls f for 0 to n-1, and collects what went wrong by index. f may be a codec of the user's: a panic, and a
// call of runtime.Goexit, count as an error of that one call. So f runs on a goroutine of its own, one for all calls
// that go well.
func Each(n int, f func(i int) error) map[int]error {
	errs := make(map[int]error)
	for i := 0; i < n; {
		done := make(chan struct{})
		returned := false
		go func() {
			defer close(done)
			defer func() {
				if returned {
					return
				}
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("coherence: the codec panicked: %v", p)
				} else {
					errs[i] = errors.New("coherence: the codec ended its goroutine")
				}
				i++
			}()
			for ; i < n; i++ {
				if err := f(i); err != nil {
					errs[i] = err
				}
			}
			returned = true
		}()
		<-done
	}
	return errs
}
