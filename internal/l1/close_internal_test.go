package l1

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// A reader is stopped inside ristretto, where it is about to hand over what it has read: to a channel that ristretto's
// Close closes. L1 may not close it meanwhile.
func TestClose_WaitsForWhoeverIsInsideRistretto(t *testing.T) {
	for name, use := range map[string]func(*Cache[int]){
		"Get":    func(l *Cache[int]) { l.Get(1) },
		"Touch":  func(l *Cache[int]) { l.Touch(1) },
		"Set":    func(l *Cache[int]) { l.Set(1, new(int), 1) },
		"Delete": func(l *Cache[int]) { l.Delete(1) },
	} {
		t.Run(name, func(t *testing.T) {
			var hold atomic.Bool
			inside, leave := make(chan struct{}), make(chan struct{})
			own := func(*int) uint64 { return 1 }
			l, err := New(Config[int]{MaxBytes: 1 << 20, Hash: own, hash: func(h uint64) (uint64, uint64) {
				if hold.CompareAndSwap(true, false) {
					close(inside)
					<-leave
				}
				return h, 0
			}})
			if err != nil {
				t.Fatal(err)
			}
			for range 63 { // so that the next Get hands over a full buffer
				l.Get(1)
			}
			hold.Store(true)
			left := make(chan any)
			go func() {
				defer func() { left <- recover() }()
				use(l)
			}()
			<-inside
			var closed atomic.Bool
			over := make(chan struct{})
			go func() {
				l.Close()
				closed.Store(true)
				close(over)
			}()
			for l.On() {
				runtime.Gosched()
			}
			for range 5 { // each would show that nobody else holds the table
				runtime.GC()
			}
			if closed.Load() {
				t.Error("closed beside its user")
			}
			close(leave)
			if p := <-left; p != nil {
				t.Errorf("the user panicked: %v", p)
			}
			<-over
			if _, ok := l.Get(1); ok || l.Set(1, new(int), 1) {
				t.Error("used after Close")
			}
			l.Close()
		})
	}
}
