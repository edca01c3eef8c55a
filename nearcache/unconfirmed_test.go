package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// writers is two instances over one Redis, and one source that can be taken away.
type writers struct {
	src      *commits
	reg      *prometheus.Registry // of the first
	clients  [2]*nearcache.Client
	caches   [2]*nearcache.Cache[string, string]
	failSafe nearcache.FailSafe
}

var errBroken = errors.New("the connection broke during the commit")

// inWritersBubble runs a test of two instances in a bubble, without and with a Source.
func inWritersBubble(t *testing.T, failSafe nearcache.FailSafe, test func(*testing.T, *writers)) {
	for name, source := range map[string]coherence.Source{"without a Source": nil, "with a Source": still{}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, err := nearcachetest.StartRedis("")
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				f := &writers{src: &commits{source: newSource()}, reg: prometheus.NewRegistry(), failSafe: failSafe}
				for i := range f.clients {
					cfg := nearcache.Config{Redis: r.PipeOption(), Source: source}
					if i == 0 {
						cfg.Registerer = f.reg
					}
					if f.clients[i], err = nearcache.New(cfg); err != nil {
						t.Fatal(err)
					}
					defer f.clients[i].Close()
					if err := f.clients[i].Ready(t.Context()); err != nil {
						t.Fatal(err)
					}
					f.caches[i] = newCache(t, f.clients[i], nearcache.Options[string, string]{Load: f.src.load,
						FailSafe: f.failSafe, WriteTTL: time.Hour})
				}
				f.src.write("a", "one")
				for _, c := range f.caches {
					resident(t, c, "a")
				}
				test(t, f)
			})
		})
	}
}

// breaks is a write whose commit is not answered.
func (f *writers) breaks(t *testing.T, c *nearcache.Cache[string, string], commit func()) {
	t.Helper()
	_, err := c.Write(context.Background(), "a", func(context.Context) (nearcache.Version, error) {
		if commit != nil {
			commit()
		}
		return 0, errBroken
	})
	if !errors.Is(err, errBroken) {
		t.Fatalf("got error %v, want that of the commit", err)
	}
	synctest.Wait()
}

// wantUnconfirmed reads while the source is away.
func (f *writers) wantUnconfirmed(t *testing.T, what string, c *nearcache.Cache[string, string]) {
	t.Helper()
	r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{ServeStale: time.Hour})
	if err != nil || r.Value != "one" || !r.Stale || !r.Unconfirmed {
		t.Errorf("%s: %+v, %v; want the value of before, labelled", what, r, err)
	}
}

// A write whose commit is not answered takes the value from nobody who asked to be served it in place of an error. When
// the source is back it decides.
func TestUnconfirmed_IsServedInPlaceOfAnErrorAlone(t *testing.T) {
	for _, committed := range []bool{false, true} {
		t.Run(fmt.Sprint("committed: ", committed), func(t *testing.T) {
			inWritersBubble(t, nearcache.FailSafe{}, func(t *testing.T, f *writers) {
				f.breaks(t, f.caches[0], func() {
					if committed {
						f.src.write("a", "two")
					}
				})
				f.src.setDown(true)
				for i, c := range f.caches {
					for range 3 {
						f.wantUnconfirmed(t, fmt.Sprint("instance ", i), c)
						if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); !errors.Is(err, errDown) {
							t.Errorf("instance %d: a plain read got %+v, %v; want the Loader's error", i, r, err)
						}
					}
				}
				if n := testkit.Metric(t, f.reg, "nearcache_served_stale_total", "unconfirmed"); n != 3 {
					t.Errorf("%v reads of the first instance are counted as unconfirmed, want 3", n)
				}
				f.src.setDown(false)
				want := map[bool]string{false: "one", true: "two"}[committed]
				for i, c := range f.caches {
					r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{ServeStale: time.Hour})
					if err != nil || r.Value != want || r.Stale || r.Unconfirmed {
						t.Errorf("instance %d, with the source back: %+v, %v; want %s", i, r, err, want)
					}
					resident(t, c, "a")
				}
			})
		})
	}
}

// FailSafe is what plain reads have. It knows a write that has not ended, one that broke, and what comes after.
func TestUnconfirmed_FailSafe(t *testing.T) {
	inWritersBubble(t, nearcache.FailSafe{MaxAge: time.Hour}, func(t *testing.T, f *writers) {
		plain := func(what string, c *nearcache.Cache[string, string]) {
			t.Helper()
			r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{})
			if err != nil || r.Value != "one" || !r.Unconfirmed {
				t.Errorf("%s: %+v, %v; want the value of before, labelled", what, r, err)
			}
		}
		f.breaks(t, f.caches[0], func() { f.src.setDown(true) })
		plain("the writer's instance", f.caches[0])
		plain("another", f.caches[1])
		f.breaks(t, f.caches[1], nil)
		plain("a second write broke", f.caches[0])
		time.Sleep(6 * time.Minute) // the TTL is over too
		plain("it has expired as well", f.caches[1])
		for name, known := range map[string]func() error{
			"a newer version": func() error { return f.caches[1].Invalidate(t.Context(), "a", 2) },
			"whatever there is": func() error {
				return f.caches[1].InvalidateMany(t.Context(), map[string]nearcache.Version{"a": 0})
			},
		} {
			if err := known(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for i, c := range f.caches {
				if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); !errors.Is(err, errDown) {
					t.Errorf("instance %d, after an invalidation of %s: %+v, %v; want the Loader's error", i, name, r, err)
				}
			}
		}
	})
}

// A write that certainly did not happen takes nothing from anybody, also where an intent marks its key meanwhile.
func TestWrite_ThatDidNotHappenInvalidatesNothing(t *testing.T) {
	inWritersBubble(t, nearcache.FailSafe{}, func(t *testing.T, f *writers) {
		f.src.setDown(true)
		refused := func(ctx context.Context) error {
			_, err := f.caches[0].Write(ctx, "a", func(context.Context) (nearcache.Version, error) {
				return 0, fmt.Errorf("%w: refused", nearcache.ErrNotCommitted)
			})
			return err
		}
		timed, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		for _, ctx := range []context.Context{context.Background(), timed} {
			if err := refused(ctx); !errors.Is(err, nearcache.ErrNotCommitted) {
				t.Fatal(err)
			}
			synctest.Wait()
			for i, c := range f.caches {
				r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{})
				if err != nil || r.Value != "one" || r.Stale {
					t.Errorf("instance %d: %+v, %v; want the value, as before", i, r, err)
				}
			}
		}
		f.breaks(t, f.caches[0], nil)
		if err := refused(t.Context()); err == nil {
			t.Error("no error")
		}
		f.wantUnconfirmed(t, "after one that broke and one that was refused", f.caches[1])
	})
}

// While Redis does not answer, L1 alone has the value.
func TestUnconfirmed_WhileRedisIsAway(t *testing.T) {
	inFrozenBubble(t, 100*time.Millisecond, func(t *testing.T, c *nearcache.Cache[string, string],
		client *nearcache.Client, z *freezer, src *commits) {
		f := &writers{src: src}
		f.src.write("a", "one")
		resident(t, c, "a")
		z.freeze()
		f.src.setDown(true)
		f.breaks(t, c, nil)
		f.wantUnconfirmed(t, "with Redis and the source away", c)
		if n := client.Status().Pending; n != 1 {
			t.Errorf("%d changes are pending, want the one of unknown outcome", n)
		}
		z.thaw()
		time.Sleep(30 * time.Second)
		if client.Status().Pending != 0 {
			t.Error("Redis was not told when it came back")
		}
		f.wantUnconfirmed(t, "with Redis back", c)
		z.freeze()
		f.breaks(t, c, nil)
		if err := c.Invalidate(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{ServeStale: time.Hour}); err == nil {
			t.Errorf("after an invalidation: %+v; want an error", r)
		}
		z.thaw()
		time.Sleep(30 * time.Second)
	})
}

// A transaction that does not heed its context keeps nobody longer than the deadline. What it does is told when it
// returns.
func TestWrite_KeepsItsDeadline(t *testing.T) {
	inWritersBubble(t, nearcache.FailSafe{}, func(t *testing.T, f *writers) {
		for name, end := range map[string]func() (nearcache.Version, error){
			"commits":          func() (nearcache.Version, error) { return f.src.write("a", "late"), nil },
			"is not committed": func() (nearcache.Version, error) { return 0, nearcache.ErrNotCommitted },
			"breaks":           func() (nearcache.Version, error) { return f.src.write("a", "late"), errBroken },
			"panics":           func() (nearcache.Version, error) { f.src.write("a", "late"); panic("late") },
		} {
			before, err := f.caches[1].Get(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			resident(t, f.caches[1], "a")
			ctx, stop := context.WithTimeout(t.Context(), time.Second)
			defer stop()
			begun := time.Now()
			_, err = f.caches[0].Write(ctx, "a", func(context.Context) (nearcache.Version, error) {
				time.Sleep(20 * time.Second)
				return end()
			})
			if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second {
				t.Errorf("%s: %v after %v; want the context's error soon", name, err, took)
			}
			synctest.Wait()
			f.src.setDown(true)
			r, err := f.caches[1].Read(t.Context(), "a", nearcache.ReadOptions{ServeStale: time.Hour})
			if err != nil || r.Value != before || !r.Unconfirmed {
				t.Errorf("%s: meanwhile %+v, %v; want the value of before, labelled", name, r, err)
			}
			f.src.setDown(false)
			time.Sleep(30 * time.Second)
			want := f.src.now("a")
			for i, c := range f.caches {
				if r, err := c.Read(t.Context(), "a", nearcache.ReadOptions{}); err != nil || r.Value != want || r.Stale {
					t.Errorf("%s: instance %d reads %+v, %v; want %s", name, i, r, err, want)
				}
			}
		}
	})
}

func (s *commits) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *commits) now(k string) string {
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	return s.values[k]
}
