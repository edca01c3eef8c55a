package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// inSourcelessBubble runs an instance that knows of a relay, and has no Source.
func inSourcelessBubble(t *testing.T, test func(t *testing.T, f *relayed)) {
	t.Helper()
	src := &counting{commits: &commits{source: newSource()}}
	cfg := nearcache.Config{Relayed: true, Heartbeat: 100 * time.Millisecond}
	inRelayedBubbleOf(t, src, cfg, delta, 0, test)
}

func codes(c *nearcache.Client) (all []string) {
	for _, r := range c.Status().Reasons {
		all = append(all, r.Code)
	}
	return all
}

func TestRelayed_ProvesABoundWithoutASource(t *testing.T) {
	inSourcelessBubble(t, func(t *testing.T, f *relayed) {
		for i := range 20 {
			f.src.write("a", fmt.Sprint(i)) // by another program: only the relay tells of it
			time.Sleep(delta + time.Millisecond)
			if r := get(t, f.Cache, "a"); r.Value != fmt.Sprint(i) {
				t.Errorf("got %q from %v after the bound, want %d", r.Value, r.Tier, i)
			}
			resident(t, f.Cache, "a")
			for range 100 {
				time.Sleep(7 * time.Millisecond)
				if r := get(t, f.Cache, "a"); r.Tier != nearcache.TierL1 {
					t.Fatalf("got %v, want L1: %+v", r.Tier, f.client.Status().Bound)
				}
			}
		}
		if got := codes(f.client); len(got) > 0 {
			t.Errorf("got the reasons %v, want none", got)
		}
		if n := f.src.positions.Load(); n > 0 {
			t.Errorf("the source was asked %d times by an instance that has none", n)
		}
	})
}

// Without a relay nothing is proved: reads go to the source, and the status says why.
func TestRelayed_SaysThatNoRelayWorks(t *testing.T) {
	inSourcelessBubble(t, func(t *testing.T, f *relayed) {
		f.src.write("a", "old")
		resident(t, f.Cache, "a")
		f.stopRelay()
		f.src.write("a", "new")
		time.Sleep(delta + time.Millisecond)
		if r := get(t, f.Cache, "a"); r.Value != "new" || r.Tier != nearcache.TierSource {
			t.Errorf("got %q from %v without a relay, want the new value from the source", r.Value, r.Tier)
		}
		time.Sleep(10 * time.Second)
		if got := codes(f.client); !slices.Contains(got, "relay_silent") || !slices.Contains(got, "bound_not_met") {
			t.Errorf("got the reasons %v, want relay_silent and bound_not_met", got)
		}
		f.goOnRelay()
		time.Sleep(time.Second)
		resident(t, f.Cache, "a")
		if got := codes(f.client); len(got) > 0 {
			t.Errorf("got the reasons %v once a relay works, want none", got)
		}
	})
}

// A write need not wait for Redis, and is no error without it, where a relay carries it.
func TestRelayed_WritesWithoutRedis(t *testing.T) {
	inSourcelessBubble(t, func(t *testing.T, f *relayed) {
		f.src.write("a", "old")
		resident(t, f.Cache, "a")
		f.redis.Close()
		version, err := f.Write(t.Context(), "a", func(context.Context) (nearcache.Version, error) {
			return f.src.write("a", "new"), nil
		})
		if err != nil || version == 0 {
			t.Errorf("got version %d and error %v, want the version", version, err)
		}
		if r := get(t, f.Cache, "a"); r.Value != "new" {
			t.Errorf("got %q, want what was written", r.Value)
		}
	})
}

// A cache without versions, or a bound without a relay, is refused with both names.
func TestRelayed_DecidesWhatIsRefused(t *testing.T) {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	src := newSource()
	for relayed, options := range map[bool]nearcache.Options[string, string]{
		true:  {Find: src.value},
		false: {Load: src.load, MaxStaleness: delta},
	} {
		c, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption(), Relayed: relayed})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = nearcache.NewCache(c, "t", options)
		if err == nil || !relayed && !errors.Is(err, nearcache.ErrUnsupported) {
			t.Errorf("relayed %v: got error %v, want it refused", relayed, err)
		}
	}
}
