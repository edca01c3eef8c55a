package nearcache_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// clockVersion is a clock where a version belongs.
const clockVersion = nearcache.Version(1795805917123)

const refusedMetric = "nearcache_versions_refused_total"

// logged keeps what clients log by default while a test runs.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelWarn})))
	t.Cleanup(func() { slog.SetDefault(was) })
	return &b
}

// An event with a version that the source does not have invalidates, and does no more: reads with a bound go on, both
// tiers hold the key again, and the fault is logged and counted.
func TestForgedVersion_IsFoundOut(t *testing.T) {
	log := logged(t)
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		b.src.write("a", "one")
		time.Sleep(time.Second)
		b.warm(t)
		for i := range 3 { // each is another version
			e := coherence.Event{Namespace: "t", Key: "a", Version: clockVersion + nearcache.Version(i)}
			if err := b.client.Apply(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if r := b.read(t, nearcache.ReadOptions{}); r.Value != "one" || r.Stale {
				t.Errorf("got %+v, want \"one\", not stale", r)
			}
			b.warm(t)
		}
		if n := testkit.Metric(t, b.reg, refusedMetric, "source"); n != 3 {
			t.Errorf("%v versions are counted as refused, want 3", n)
		}
		if n := strings.Count(log.String(), "version=17958"); n != 1 {
			t.Errorf("%d lines for one key in a minute, want 1:\n%s", n, log)
		}
		b.src.write("a", "two")
		time.Sleep(delta)
		if r := b.read(t, nearcache.ReadOptions{}); r.Value != "two" {
			t.Errorf("after a write: got %+v, want \"two\"", r)
		}
	})
}

// A Loader that reads a replica returns less than a version that the source has. That version stands, and the source is
// not asked for it with each read.
func TestForgedVersion_ARealOneStands(t *testing.T) {
	inBoundedBubble(t, func(t *testing.T, b *bounded) {
		behind, err := nearcache.NewCache(b.client, "u", nearcache.Options[string, string]{MaxStaleness: delta,
			Load: func(context.Context, string) (nearcache.Entry[string], error) {
				return nearcache.Entry[string]{Value: "one", Version: 1}, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		b.src.write("a", "one")
		b.src.write("a", "two")
		if err := b.client.Apply(t.Context(), coherence.Event{Namespace: "u", Key: "a", Version: 2}); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := behind.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrNotReady) {
				t.Errorf("got %v, want ErrNotReady", err)
			}
		}
		if n := testkit.Metric(t, b.reg, refusedMetric); n != 0 {
			t.Errorf("%v versions were refused, want none", n)
		}
		b.src.set(func() {
			// A cache's first three loads ask twice each, whether the Loader's versions are the source's.
			if b.src.asked != 1+2*3 {
				t.Errorf("the source was asked %d times in a second, want 7: once beside the first loads", b.src.asked)
			}
		})
	})
}

// mute is a Source that cannot be asked for a version.
type mute struct{ coherence.Source }

// Without a Versioner a version that no load comes up to is forgotten after 30 seconds.
func TestForgedVersion_AgesWithoutAVersioner(t *testing.T) {
	log := logged(t)
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		src := &commits{source: newSource()}
		src.write("a", "one")
		client, err := nearcache.New(nearcache.Config{Redis: r.PipeOption(), Source: mute{src}})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load, MaxStaleness: delta})
		if err := client.Apply(t.Context(), coherence.Event{Namespace: "t", Key: "a", Version: clockVersion}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, nearcache.ErrNotReady) {
			t.Errorf("while it may be real: got %v, want ErrNotReady", err)
		}
		time.Sleep(31 * time.Second)
		if v, err := c.Get(t.Context(), "a"); v != "one" || err != nil {
			t.Errorf("after 31 s: got %q, %v", v, err)
		}
		if !strings.Contains(log.String(), "reason=age") {
			t.Errorf("nothing is logged:\n%s", log)
		}
	})
}
