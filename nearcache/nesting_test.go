package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// inNestedBubble is inBubble with caches that the Loaders can read, by namespace.
func inNestedBubble(t *testing.T, o nearcache.Options[string, string], namespaces []string,
	load func(ctx context.Context, caches map[string]*nearcache.Cache[string, string],
		namespace, k string) (string, error),
	test func(t *testing.T, caches map[string]*nearcache.Cache[string, string])) {
	t.Helper()
	inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
		caches := map[string]*nearcache.Cache[string, string]{}
		for _, ns := range namespaces {
			o := o
			o.Load = func(ctx context.Context, k string) (nearcache.Entry[string], error) {
				v, err := load(ctx, caches, ns, k)
				return nearcache.Entry[string]{Value: v}, err
			}
			c, err := nearcache.NewCache(client, ns, o)
			if err != nil {
				t.Fatal(err)
			}
			caches[ns] = c
		}
		test(t, caches)
	})
}

// A load that a Loader causes is not charged to MaxLoads: its parent has a place already.
func TestNesting_ALoadIsNotChargedTwice(t *testing.T) {
	o := nearcache.Options[string, string]{MaxLoads: 2}
	load := func(ctx context.Context, caches map[string]*nearcache.Cache[string, string], ns, k string) (string, error) {
		<-time.After(10 * time.Millisecond)
		n, _ := strconv.Atoi(k)
		if n == 0 {
			return "0", nil
		}
		v, err := caches[ns].Get(ctx, strconv.Itoa(n-1))
		return v + "," + k, err
	}
	inNestedBubble(t, o, []string{"n"}, load, func(t *testing.T, caches map[string]*nearcache.Cache[string, string]) {
		begun := time.Now()
		v, err := caches["n"].Get(t.Context(), "9")
		if err != nil || v != "0,1,2,3,4,5,6,7,8,9" || time.Since(begun) > time.Second {
			t.Errorf("%q, %v after %v", v, err, time.Since(begun))
		}
	})
}

// The children's own readers came first, and wait for a place behind the parents, which hold them all.
func TestNesting_ParentsThatHoldAllPlaces(t *testing.T) {
	for name, childFirst := range map[string]bool{"children unread": false, "children read already": true} {
		t.Run(name, func(t *testing.T) {
			o := nearcache.Options[string, string]{MaxLoads: 4}
			load := func(ctx context.Context, caches map[string]*nearcache.Cache[string, string], ns, k string) (string, error) {
				<-time.After(100 * time.Millisecond)
				if child, ok := strings.CutPrefix(k, "parent of "); ok {
					return caches["n"].Get(ctx, child)
				}
				return k, nil
			}
			inNestedBubble(t, o, []string{"n"}, load, func(t *testing.T, caches map[string]*nearcache.Cache[string, string]) {
				begun := time.Now()
				var wg sync.WaitGroup
				read := func(k string) {
					wg.Go(func() {
						if _, err := caches["n"].Get(t.Context(), k); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				for i := range 8 {
					read(fmt.Sprint("parent of ", i))
				}
				if childFirst {
					for i := range 8 {
						read(fmt.Sprint(i))
					}
				}
				wg.Wait()
				if took := time.Since(begun); took > time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// A circle fails at once, and names its keys.
func TestNesting_ACircleFailsAtOnce(t *testing.T) {
	one := func(ctx context.Context, c *nearcache.Cache[string, string], k string) (string, error) {
		return c.Get(ctx, k)
	}
	fresh := func(ctx context.Context, c *nearcache.Cache[string, string], k string) (string, error) {
		r, err := c.Read(ctx, k, nearcache.ReadOptions{Fresh: true})
		return r.Value, err
	}
	many := func(ctx context.Context, c *nearcache.Cache[string, string], k string) (string, error) {
		m, err := c.GetMany(ctx, []string{"beside " + k, k})
		return m[k], err
	}
	for name, test := range map[string]struct {
		needs map[string]string // "namespace key" by "namespace key"
		read  func(context.Context, *nearcache.Cache[string, string], string) (string, error)
		first []string // what is read, at once
		names []string
	}{
		"of itself":             {map[string]string{"n a": "n a"}, one, []string{"n a"}, []string{`n "a"`}},
		"of itself, Fresh":      {map[string]string{"n a": "n a"}, fresh, []string{"n a"}, []string{`n "a"`}},
		"of itself, by GetMany": {map[string]string{"n a": "n a"}, many, []string{"n a"}, []string{`n "a"`}},
		"of two": {map[string]string{"n a": "n b", "n b": "n a"}, one,
			[]string{"n a"}, []string{`n "a"`, `n "b"`}},
		"of two, by GetMany": {map[string]string{"n a": "n b", "n b": "n a"}, many,
			[]string{"n a"}, []string{`n "a"`, `n "b"`}},
		"of two caches": {map[string]string{"n a": "m b", "m b": "n a"}, one,
			[]string{"n a"}, []string{`n "a"`, `m "b"`}},
		"of three, begun at each one": {map[string]string{"n a": "n b", "n b": "n c", "n c": "n a"}, one,
			[]string{"n a", "n b", "n c"}, []string{`n "a"`, `n "b"`, `n "c"`}},
		"of two, begun at both": {map[string]string{"n a": "m b", "m b": "n a"}, one,
			[]string{"n a", "m b"}, []string{`n "a"`, `m "b"`}},
	} {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/LoadMany=", batch), func(t *testing.T) {
				inBubble(t, func(t *testing.T, _ *nearcachetest.Redis, client *nearcache.Client) {
					caches := map[string]*nearcache.Cache[string, string]{}
					load := func(ctx context.Context, ns, k string) (nearcache.Entry[string], error) {
						<-time.After(10 * time.Millisecond)
						need, ok := test.needs[ns+" "+k]
						if !ok {
							return nearcache.Entry[string]{Value: k}, nil
						}
						other, name, _ := strings.Cut(need, " ")
						v, err := test.read(ctx, caches[other], name)
						return nearcache.Entry[string]{Value: v}, err
					}
					for _, ns := range []string{"n", "m"} {
						o := nearcache.Options[string, string]{Load: func(ctx context.Context, k string) (nearcache.Entry[string],
							error) {
							return load(ctx, ns, k)
						}}
						if batch {
							o = nearcache.Options[string, string]{LoadMany: func(ctx context.Context,
								ks []string) (map[string]nearcache.Entry[string], error) {
								out := map[string]nearcache.Entry[string]{}
								for _, k := range ks {
									e, err := load(ctx, ns, k)
									if err != nil {
										return nil, err
									}
									out[k] = e
								}
								return out, nil
							}}
						}
						c, err := nearcache.NewCache(client, ns, o)
						if err != nil {
							t.Fatal(err)
						}
						caches[ns] = c
					}
					begun := time.Now()
					var wg sync.WaitGroup
					for _, first := range test.first {
						ns, k, _ := strings.Cut(first, " ")
						wg.Go(func() {
							_, err := caches[ns].Get(t.Context(), k)
							if !errors.Is(err, nearcache.ErrLoadCycle) {
								t.Errorf("%s: got error %v, want ErrLoadCycle", first, err)
								return
							}
							for _, name := range test.names {
								if !strings.Contains(err.Error(), name) {
									t.Errorf("%v: does not name %s", err, name)
								}
							}
						})
					}
					wg.Wait()
					if took := time.Since(begun); took > time.Second {
						t.Errorf("took %v", took)
					}
				})
			})
		}
	}
}

// Two processes, each of which loads a key that needs the key that the other one loads: neither may wait for the
// other's lease.
func TestNesting_ACircleOverTwoProcessesFailsAtOnce(t *testing.T) {
	needs := map[string]string{"a": "b", "b": "a"}
	var cs []*nearcache.Cache[string, string]
	o := func(i int) nearcache.Options[string, string] {
		return nearcache.Options[string, string]{Load: func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			<-time.After(10 * time.Millisecond)
			v, err := cs[i].Get(ctx, needs[k])
			return nearcache.Entry[string]{Value: v}, err
		}}
	}
	inBubble(t, func(t *testing.T, r *nearcachetest.Redis, client *nearcache.Client) {
		second, err := nearcache.New(nearcache.Config{Redis: r.PipeOption()})
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if err := second.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		cs = []*nearcache.Cache[string, string]{newCache(t, client, o(0)), newCache(t, second, o(1))}
		begun := time.Now()
		var wg sync.WaitGroup
		// each also has a reader of the other's key, without a Loader
		for i, keys := range [][]string{{"a", "b"}, {"b", "a"}} {
			for _, k := range keys {
				wg.Go(func() {
					if _, err := cs[i].Get(t.Context(), k); !errors.Is(err, nearcache.ErrLoadCycle) {
						t.Errorf("%s: got error %v, want ErrLoadCycle", k, err)
					}
				})
				synctest.Wait()
			}
		}
		wg.Wait()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}
