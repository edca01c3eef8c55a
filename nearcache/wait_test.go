package nearcache_test

import (
	"context"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// holder is an instance whose Loader returns when the test lets it.
type holder struct {
	client *nearcache.Client
	cache  *nearcache.Cache[string, string]
	let    chan func() (nearcache.Entry[string], error) // what its Loader returns
	over   chan struct{}                                // its read has returned
}

// inHolderBubble has two instances on one Redis: one holds the lease of key a and is loading it, a read on the other
// waits for its fill. waited returns how long that read has taken since the wait's beginning.
func inHolderBubble(t *testing.T,
	test func(t *testing.T, r *nearcachetest.Redis, h *holder, waited func() time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		start := func(load nearcache.Loader[string, string]) (*nearcache.Client, *nearcache.Cache[string, string]) {
			client, err := nearcache.New(nearcache.Config{Redis: r.PipeOption()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			if err := client.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			return client, newCache(t, client, nearcache.Options[string, string]{Load: load})
		}
		h := &holder{let: make(chan func() (nearcache.Entry[string], error), 1), over: make(chan struct{})}
		var first atomic.Bool
		h.client, h.cache = start(func(context.Context, string) (nearcache.Entry[string], error) {
			if first.CompareAndSwap(false, true) {
				return (<-h.let)()
			}
			return nearcache.Entry[string]{Value: "holder's second"}, nil
		})
		_, waiting := start(func(context.Context, string) (nearcache.Entry[string], error) {
			return nearcache.Entry[string]{Value: "waiter's"}, nil
		})
		go func() { defer close(h.over); _, _ = h.cache.Get(t.Context(), "a") }()
		synctest.Wait()
		begun := time.Now()
		ended := make(chan time.Duration, 1)
		go func() { _, _ = waiting.Get(t.Context(), "a"); ended <- time.Since(begun) }()
		time.Sleep(300 * time.Millisecond)
		select {
		case <-ended:
			t.Fatal("the read does not wait")
		default:
		}
		test(t, r, h, func() time.Duration { return <-ended })
		select {
		case h.let <- func() (nearcache.Entry[string], error) { return nearcache.Entry[string]{Value: "late"}, nil }:
		default:
		}
		<-h.over
	})
}

// Whoever waits for another process's fill is woken whenever that fill can no longer come.
func TestWait_EndsWhenTheFillCanNoLongerCome(t *testing.T) {
	k := key("a")
	const at = 300 * time.Millisecond // when it happens
	for name, happens := range map[string]func(*testing.T, *nearcachetest.Redis, *holder){
		"a version is applied": func(t *testing.T, _ *nearcachetest.Redis, h *holder) {
			if err := h.cache.Invalidate(t.Context(), "a", 7); err != nil {
				t.Error(err)
			}
		},
		"an invalidation without a version": func(t *testing.T, _ *nearcachetest.Redis, h *holder) {
			if err := h.cache.Invalidate(t.Context(), "a", 0); err != nil {
				t.Error(err)
			}
		},
		"a writer sets another state": func(t *testing.T, _ *nearcachetest.Redis, h *holder) {
			if err := h.cache.Set(t.Context(), "a", nearcache.Entry[string]{Value: "set", Version: 3}); err != nil {
				t.Error(err)
			}
		},
		"a writer announces a write": func(t *testing.T, r *nearcachetest.Redis, _ *holder) {
			id := l2.NewLeaseID()
			r.Do("SET", k.Lease, "W"+string(id[:]), "PX", "10000")
		},
		"the Loader fails": func(_ *testing.T, _ *nearcachetest.Redis, h *holder) {
			h.let <- func() (nearcache.Entry[string], error) { return nearcache.Entry[string]{}, errDown }
		},
		"the Loader panics": func(_ *testing.T, _ *nearcachetest.Redis, h *holder) {
			h.let <- func() (nearcache.Entry[string], error) { panic("boom") }
		},
		"the value cannot be kept": func(_ *testing.T, _ *nearcachetest.Redis, h *holder) {
			h.let <- func() (nearcache.Entry[string], error) {
				return nearcache.Entry[string]{Value: "v", Tags: []string{strings.Repeat("x", 2000)}}, nil
			}
		},
		"the bucket was started again": func(_ *testing.T, r *nearcachetest.Redis, h *holder) {
			r.Do("SET", "nc:{"+bucketOf(k)+"}:w", strings.Repeat("\x01", 32))
			h.let <- func() (nearcache.Entry[string], error) { return nearcache.Entry[string]{Value: "refused"}, nil }
		},
		"the lease is evicted":          func(_ *testing.T, r *nearcachetest.Redis, _ *holder) { r.Do("DEL", k.Lease) },
		"Redis is flushed":              func(_ *testing.T, r *nearcachetest.Redis, _ *holder) { r.Do("FLUSHALL") },
		"Redis goes away":               func(_ *testing.T, r *nearcachetest.Redis, _ *holder) { r.Close() },
		"the holder's client is closed": func(_ *testing.T, _ *nearcachetest.Redis, h *holder) { _ = h.client.Close() },
		"the fill comes": func(_ *testing.T, _ *nearcachetest.Redis, h *holder) {
			h.let <- func() (nearcache.Entry[string], error) { return nearcache.Entry[string]{Value: "v"}, nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHolderBubble(t, func(t *testing.T, r *nearcachetest.Redis, h *holder, waited func() time.Duration) {
				happens(t, r, h)
				if got := waited(); got > at+100*time.Millisecond {
					t.Errorf("the read took %v; want about %v", got, at)
				}
			})
		})
	}
}

func bucketOf(k l2.Key) string {
	_, rest, _ := strings.Cut(k.Record, "{")
	bucket, _, _ := strings.Cut(rest, "}")
	return bucket
}

// rawCodec keeps strings as they are.
type rawCodec struct{}

func (rawCodec) Append(b []byte, v string) ([]byte, error) { return append(b, v...), nil }
func (rawCodec) Decode(b []byte) (string, error)           { return string(b), nil }

// A value that L2 never takes gives its lease back: its readers go to the source at once, on every instance.
func TestWait_NobodyWaitsForAValueThatCannotBeKept(t *testing.T) {
	for name, test := range map[string]struct {
		entry  nearcache.Entry[string]
		o      nearcache.Options[string, string]
		kept   bool
		reason string
	}{
		"over the limit": {entry: nearcache.Entry[string]{Value: strings.Repeat("x",
			l2.MaxRecordBytes)}, reason: "too_large"},
		"a tag over 1 KiB": {entry: nearcache.Entry[string]{Value: "v",
			Tags: []string{strings.Repeat("x", 1025)}}, reason: "invalid"},
		"a TTL that would overflow": {entry: nearcache.Entry[string]{Value: "v", TTL: math.MaxInt64}, kept: true},
		"a TTL and a MaxAge for ever": {entry: nearcache.Entry[string]{Value: "v"}, kept: true,
			o: nearcache.Options[string, string]{TTL: math.MaxInt64, FailSafe: nearcache.FailSafe{MaxAge: math.MaxInt64}}},
	} {
		t.Run(name, func(t *testing.T) {
			inMeteredBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client, reg *prometheus.Registry) {
				load := func(context.Context, string) (nearcache.Entry[string], error) {
					<-time.After(100 * time.Millisecond)
					return test.entry, nil
				}
				test.o.Load, test.o.Codec = load, rawCodec{}
				first := newCache(t, client, test.o)
				others := []*nearcache.Cache[string, string]{first}
				for range 2 {
					other, err := nearcache.New(nearcache.Config{Redis: r.PipeOption()})
					if err != nil {
						t.Fatal(err)
					}
					defer other.Close()
					if err := other.Ready(t.Context()); err != nil {
						t.Fatal(err)
					}
					others = append(others, newCache(t, other, test.o))
				}
				get := func(c *nearcache.Cache[string, string]) (nearcache.Tier, time.Duration) {
					begun := time.Now()
					r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{})
					if err != nil || r.Value != test.entry.Value {
						t.Errorf("%d bytes, %v", len(r.Value), err)
					}
					return r.Tier, time.Since(begun)
				}
				var wg sync.WaitGroup
				for _, c := range others { // all at once: one is granted the lease, the others wait for its load at most, and load
					wg.Go(func() {
						if _, took := get(c); took > 400*time.Millisecond {
							t.Errorf("the first read took %v", took)
						}
					})
					time.Sleep(time.Millisecond)
				}
				wg.Wait()
				for range 3 {
					for _, c := range others {
						tier, took := get(c)
						if took > 100*time.Millisecond || test.kept != (tier != nearcache.TierSource) {
							t.Errorf("a further read took %v, and came from %v", took, tier)
						}
					}
				}
				if !test.kept && testkit.Metric(t, reg, "nearcache_fills_total", test.reason) == 0 {
					t.Errorf("no fill is counted as %s", test.reason)
				}
			})
		})
	}
}
