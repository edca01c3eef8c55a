package nearcache

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The coarse clock does not run while nothing is read, and the first read after that does not go by an old one.
func TestClock_SleepsAndIsNeverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Client{base: time.Now()}
		c.pace.awake = make(chan struct{}, 1)
		c.life, c.end = context.WithCancel(t.Context())
		c.coarse.Store(c.now())
		c.wg.Go(c.ticks)
		for range 3 {
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := c.coarse.Load(); got != asleep {
				t.Errorf("the clock reads %v after an hour without a read, want it asleep", time.Duration(got))
			}
			for range 40 { // for two seconds: it falls asleep in between, and is woken again
				if late := c.now() - c.coarseNow(); late < 0 || late > int64(tick) {
					t.Errorf("the clock is late by %v, want at most a tick", time.Duration(late))
				}
				time.Sleep(50 * time.Millisecond)
				synctest.Wait()
			}
		}
		c.end()
		c.wg.Wait()
		time.Sleep(time.Minute)
		if late := c.now() - c.coarseNow(); late != 0 {
			t.Errorf("the clock of a closed client is late by %v", time.Duration(late))
		}
	})
}
