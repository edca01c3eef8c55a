package nearcache_test

import (
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
)

// An instance that has just started has proved nothing, and the time since its start is less than the bound: no claim
// may be taken for a proof from before it. Found by make chaos: instances were killed and started again while every
// link was slow, and one of them served what L2 held, 640ms old, within 250ms of its start.
func TestBound_AYoungClientTakesNothingFromL2Unproved(t *testing.T) { // C1
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		b.src.set(func() { b.src.stalled = true })
		b.src.write("a", "two") // L2 is not told
		time.Sleep(10 * delta)
		young, err := nearcache.New(nearcache.Config{Redis: b.redis.PipeOption(), Source: b.src,
			Heartbeat: 25 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer young.Close()
		c := newCache(t, young, nearcache.Options[string, string]{Load: b.src.load, MaxStaleness: delta})
		for _, r := range c.ReadMany(t.Context(), []string{"a", "b"}, nearcache.ReadOptions{})[:1] {
			if r.Err != nil || r.Value != "two" {
				t.Errorf("ReadMany: %+v", r)
			}
		}
		if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil || r.Value != "two" {
			t.Errorf("got %+v and error %v, want \"two\"", r, err)
		}
	})
}
