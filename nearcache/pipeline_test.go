package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// slowLoader counts its calls, and how many of one key run at a time.
type slowLoader struct {
	takes time.Duration
	err   error

	calls   atomic.Int64
	mu      sync.Mutex
	running map[string]int
	most    int
}

func (l *slowLoader) enter(ks ...string) {
	l.calls.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running == nil {
		l.running = map[string]int{}
	}
	for _, k := range ks {
		l.running[k]++
		l.most = max(l.most, l.running[k])
	}
}

func (l *slowLoader) leave(ks ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range ks {
		l.running[k]--
	}
}

func (l *slowLoader) load(_ context.Context, k string) (nearcache.Entry[string], error) {
	l.enter(k)
	defer l.leave(k)
	<-time.After(l.takes)
	return nearcache.Entry[string]{Value: "value of " + k}, l.err
}

func (l *slowLoader) loadMany(_ context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
	l.enter(ks...)
	defer l.leave(ks...)
	<-time.After(l.takes)
	m := map[string]nearcache.Entry[string]{}
	for _, k := range ks {
		m[k] = nearcache.Entry[string]{Value: "value of " + k}
	}
	return m, l.err
}

// inMeteredBubble is inBubble with the client's metrics.
func inMeteredBubble(t *testing.T,
	test func(t *testing.T, r *nearcachetest.Redis, c *nearcache.Client, reg *prometheus.Registry)) {
	t.Helper()
	reg := prometheus.NewRegistry()
	inBubbleWith(t, nearcache.Config{Registerer: reg}, func(t *testing.T, r *nearcachetest.Redis, c *nearcache.Client) {
		test(t, r, c, reg)
	})
}

// A refresh holds its lease while the Loader runs, however long that is.
func TestPipeline_RefreshWithALoaderSlowerThanTheLease(t *testing.T) {
	for name, many := range map[string]bool{"Load": false, "LoadMany": true} {
		t.Run(name, func(t *testing.T) {
			inMeteredBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client, reg *prometheus.Registry) {
				l := &slowLoader{takes: 3 * time.Second} // LeaseTTL is 2 s
				o := nearcache.Options[string, string]{TTL: time.Minute, Refresh: nearcache.Refresh{After: 0.5}}
				if many {
					o.LoadMany = l.loadMany
				} else {
					o.Load = l.load
				}
				c := newCache(t, client, o)
				waited := 0
				for begun := time.Now(); time.Since(begun) < 90*time.Second; time.Sleep(100 * time.Millisecond) {
					asked := time.Now()
					if _, err := c.Get(t.Context(), "a"); err != nil {
						t.Fatal(err)
					}
					if time.Since(asked) > time.Second {
						waited++
					}
				}
				time.Sleep(4 * time.Second)
				loads, lost := l.calls.Load(), testkit.Metric(t, reg, "nearcache_fills_total", "lease_lost")
				filled := testkit.Metric(t, reg, "nearcache_fills_total", "filled")
				refreshed := testkit.Metric(t, reg, "nearcache_refreshes_total", "loaded")
				if waited != 1 || lost != 0 || filled != float64(loads) || refreshed != filled-1 || loads < 2 || loads > 4 {
					t.Errorf("%d reads waited, %d loads, %v filled, %v lost, %v refreshes counted as loaded; "+
						"want 1 read, 2 to 4 loads, all filled, one refresh less", waited, loads, filled, lost, refreshed)
				}
			})
		})
	}
}

func TestPipeline_LoadManySlowerThanTheLeaseFills(t *testing.T) {
	inMeteredBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client, reg *prometheus.Registry) {
		l := &slowLoader{takes: 3 * time.Second}
		c := newCache(t, client, nearcache.Options[string, string]{LoadMany: l.loadMany, LeaseTTL: time.Second})
		if m, err := c.GetMany(t.Context(), []string{"a", "b"}); err != nil || len(m) != 2 {
			t.Fatal(m, err)
		}
		synctest.Wait() // the values come before their fills
		if filled := testkit.Metric(t, reg, "nearcache_fills_total", "filled"); filled != 2 {
			t.Errorf("%v of 2 values filled", filled)
		}
		if m, err := c.GetMany(t.Context(), []string{"a", "b"}); err != nil || len(m) != 2 || l.calls.Load() != 1 {
			t.Errorf("%v, %v after %d loads", m, err, l.calls.Load())
		}
	})
}

func TestPipeline_ErrorTTLHoldsForLoadMany(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		l := &slowLoader{err: errDown}
		c := newCache(t, client, nearcache.Options[string, string]{LoadMany: l.loadMany, ErrorTTL: time.Second})
		for range 10 {
			if _, err := c.GetMany(t.Context(), []string{"a", "b"}); !errors.Is(err, errDown) {
				t.Fatal(err)
			}
		}
		if n := l.calls.Load(); n != 1 {
			t.Errorf("%d loads while the error was remembered, want 1", n)
		}
		if _, err := c.Get(t.Context(), "a"); !errors.Is(err, errDown) || l.calls.Load() != 1 {
			t.Errorf("Get after GetMany: %v, %d loads", err, l.calls.Load())
		}
		l.err = nil
		if m, err := c.GetMany(t.Context(), []string{"a", "c"}); m["c"] == "" ||
			!errors.Is(err, errDown) || l.calls.Load() != 2 {
			t.Errorf("a key whose error is remembered beside one that has none: %v, %v, %d loads", m, err, l.calls.Load())
		}
		time.Sleep(time.Second)
		if m, err := c.GetMany(t.Context(), []string{"a", "b"}); err != nil || len(m) != 2 {
			t.Errorf("after ErrorTTL: %v, %v", m, err)
		}
	})
}

// Readers of every kind, at once and one after another: of a key at most one call of the Loader runs.
func TestPipeline_LoaderRunsOnceAtATime(t *testing.T) {
	fresh := nearcache.ReadOptions{Fresh: true}
	get := func(t *testing.T, c *nearcache.Cache[string, string]) error {
		_, err := c.Get(t.Context(), "a")
		return err
	}
	read := func(t *testing.T, c *nearcache.Cache[string, string]) error {
		_, err := c.Read(t.Context(), "a", fresh)
		return err
	}
	many := func(t *testing.T, c *nearcache.Cache[string, string]) error {
		m, err := c.GetMany(t.Context(), []string{"b", "a", "c"})
		if err == nil && len(m) != 3 {
			err = fmt.Errorf("got %v, want 3 keys", m)
		}
		return err
	}
	manyFresh := func(t *testing.T, c *nearcache.Cache[string, string]) error {
		rs := c.ReadMany(t.Context(), []string{"c", "a"}, fresh)
		return errors.Join(rs[0].Err, rs[1].Err)
	}
	type reader = func(*testing.T, *nearcache.Cache[string, string]) error
	for name, test := range map[string]struct {
		readers   []reader
		redisDown bool
		mode      int // of nearcache.Mode
		calls     int64
	}{
		"Get beside Fresh":                       {readers: []reader{get, read}, calls: 2},
		"Get beside many Fresh":                  {readers: []reader{get, read, read, manyFresh, read}},
		"eight GetMany, Redis down":              {readers: repeat(8, many), redisDown: true},
		"Get beside GetMany, Redis down":         {readers: []reader{get, many, get, read, manyFresh}, redisDown: true},
		"eight GetMany":                          {readers: repeat(8, many)},
		"reads with the cache switched off":      {readers: repeat(8, get), mode: 2},
		"all of them with the cache in a shadow": {readers: []reader{get, many, read, manyFresh, get}, mode: 1},
	} {
		for _, loader := range []string{"Load", "LoadMany"} {
			t.Run(name+"/"+loader, func(t *testing.T) {
				inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
					l := &slowLoader{takes: time.Second}
					o := nearcache.Options[string, string]{Load: l.load}
					if loader == "LoadMany" {
						o = nearcache.Options[string, string]{LoadMany: l.loadMany}
					}
					c := newCache(t, client, o)
					if test.redisDown {
						r.Close()
						synctest.Wait()
					}
					if err := client.SetMode(nearcache.Mode(test.mode)); err != nil {
						t.Fatal(err)
					}
					var wg sync.WaitGroup
					for _, reader := range test.readers {
						wg.Go(func() {
							if err := reader(t, c); err != nil {
								t.Error(err)
							}
						})
						time.Sleep(time.Millisecond)
					}
					wg.Wait()
					if l.most != 1 {
						t.Errorf("%d calls of the Loader ran at a time for one key, of %d in all", l.most, l.calls.Load())
					}
					if test.calls > 0 && l.calls.Load() != test.calls {
						t.Errorf("%d calls of the Loader, want %d", l.calls.Load(), test.calls)
					}
				})
			})
		}
	}
}

func repeat[F any](n int, f F) (fs []F) {
	for range n {
		fs = append(fs, f)
	}
	return fs
}

// Keys that another process is loading are waited for together, and loaded together when that process is dead.
func TestPipeline_KeysOfADeadHolderAreLoadedTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		l := &slowLoader{takes: time.Millisecond}
		c := newCache(t, client, nearcache.Options[string, string]{LoadMany: l.loadMany})
		var ks []string
		for i := range 50 {
			ks = append(ks, fmt.Sprint(i))
			r.Do("SET", key(ks[i]).Lease, "R0123456789abcdef", "PX", "2000")
		}
		begun := time.Now()
		m, err := c.GetMany(t.Context(), ks)
		if err != nil || len(m) != 50 || l.calls.Load() != 1 || time.Since(begun) > 2100*time.Millisecond {
			t.Errorf("%d keys, %v, in %d loads after %v; want 50 in 1 after 2s", len(m), err, l.calls.Load(), time.Since(begun))
		}
		synctest.Wait() // the values come before their fills
		if _, ok := r.Get(key("0").Record); !ok {
			t.Error("not filled")
		}
	})
}

// A batch is no slower than its keys: one that another process loads does not hold up the others' loads.
func TestPipeline_AKeyThatIsWaitedForHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		l := &slowLoader{takes: time.Second}
		c := newCache(t, client, nearcache.Options[string, string]{LoadMany: l.loadMany})
		r.Do("SET", key("a").Lease, "R0123456789abcdef", "PX", "1500")
		begun := time.Now()
		m, err := c.GetMany(t.Context(), []string{"a", "b", "c"})
		if took := time.Since(begun); err != nil || len(m) != 3 || took > 2600*time.Millisecond {
			t.Errorf("%v, %v after %v; want all after 2.5s: 1.5s of the lease and 1s of its load", m, err, took)
		}
	})
}

// A reader that gives up leaves the keys of its batch to the readers that have joined them.
func TestPipeline_ABatchOutlivesItsReader(t *testing.T) {
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		l := &slowLoader{takes: time.Second}
		c := newCache(t, client, nearcache.Options[string, string]{LoadMany: l.loadMany})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			begun := time.Now()
			_, err := c.GetMany(ctx, []string{"a", "b"})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 100*time.Millisecond {
				t.Errorf("with a context of 100ms: %v after %v", err, time.Since(begun))
			}
		})
		wg.Go(func() {
			<-time.After(50 * time.Millisecond)
			if v, err := c.Get(t.Context(), "b"); err != nil || v != "value of b" {
				t.Errorf("a reader that joined: %q, %v", v, err)
			}
		})
		wg.Wait()
		if l.calls.Load() != 1 {
			t.Errorf("%d loads", l.calls.Load())
		}
		synctest.Wait() // the values come before their fills
		if _, ok := r.Get(key("a").Record); !ok {
			t.Error("the load of a reader that gave up was not filled")
		}
	})
}

// A panic in the middle of a batch ends all its keys, and nothing waits.
func TestPipeline_APanicEndsTheBatch(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		load := func(context.Context, []string) (map[string]nearcache.Entry[string], error) { panic("boom") }
		c := newCache(t, client, nearcache.Options[string, string]{LoadMany: load})
		for range 2 {
			_, err := c.GetMany(t.Context(), []string{"a", "b"})
			if !errors.Is(err, nearcache.ErrPanic) || !strings.Contains(err.Error(), "boom") {
				t.Errorf("got error %v, want ErrPanic with the Loader's message", err)
			}
		}
	})
}

// Every read ends with its caller's context, whatever the mode and however slow the Loader is.
func TestRead_EndsWithItsContext(t *testing.T) {
	type reads = map[string]func(context.Context, *nearcache.Cache[string, string]) error
	reading := reads{
		"Get": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			_, err := c.Get(ctx, "a")
			return err
		},
		"Read, Fresh": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			_, err := c.Read(ctx, "a", nearcache.ReadOptions{Fresh: true})
			return err
		},
		"GetMany": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			_, err := c.GetMany(ctx, []string{"a", "b"})
			return err
		},
		"ReadMany, Fresh": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			return c.ReadMany(ctx, []string{"a", "b"}, nearcache.ReadOptions{Fresh: true})[1].Err
		},
		"ReadMany of one": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			return c.ReadMany(ctx, []string{"a"}, nearcache.ReadOptions{})[0].Err
		},
	}
	for mode, what := range []string{"on", "shadow", "off"} {
		for name, read := range reading {
			for _, loader := range []string{"Load", "LoadMany"} {
				t.Run(what+"/"+name+"/"+loader, func(t *testing.T) {
					inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
						l := &slowLoader{takes: 3 * time.Second}
						o := nearcache.Options[string, string]{Load: l.load}
						if loader == "LoadMany" {
							o = nearcache.Options[string, string]{LoadMany: l.loadMany}
						}
						c := newCache(t, client, o)
						if err := client.SetMode(nearcache.Mode(mode)); err != nil {
							t.Fatal(err)
						}
						ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
						defer cancel()
						begun := time.Now()
						if err := read(ctx, c); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 100*time.Millisecond {
							t.Errorf("%v after %v, want a deadline exceeded after 100ms", err, time.Since(begun))
						}
						time.Sleep(10 * time.Second)
					})
				})
			}
		}
	}
}
