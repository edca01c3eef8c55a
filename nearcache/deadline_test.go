package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// deaf makes one callback wait until it is let go, whatever its context says.
type deaf struct {
	callback string
	letGo    chan struct{}
	struck   atomic.Bool
}

func (d *deaf) at(callback string) {
	if d.callback == callback {
		d.struck.Store(true)
		<-d.letGo
	}
}

type deafSource struct {
	*nearcachetest.Source
	d *deaf
}

func (s deafSource) Position(ctx context.Context) (coherence.Position, error) {
	s.d.at("Position")
	return s.Source.Position(ctx)
}

func (s deafSource) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	s.d.at("Version")
	return s.Source.Version(ctx, namespace, key)
}

func (s deafSource) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	s.d.at("BumpKey")
	return s.Source.BumpKey(ctx, namespace, key)
}

func (s deafSource) Abilities() coherence.Abilities {
	a := s.Source.Abilities()
	a.Versioner, a.Bumper = s, s
	return a
}

type deafCodec struct{ d *deaf }

func (c deafCodec) Append(b []byte, v string) ([]byte, error) {
	c.d.at("Append")
	return append(b, v...), nil
}
func (c deafCodec) Decode(b []byte) (string, error) { c.d.at("Decode"); return string(b), nil }

// inDeafBubble has a cache, with a Source, whose callback d.callback is about to stop returning.
func inDeafBubble(t *testing.T, many bool, test func(*testing.T, *nearcache.Client, *nearcache.Cache[string, string],
	*deaf)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rows, d := nearcachetest.NewSource(), &deaf{letGo: make(chan struct{})}
		table := nearcachetest.NewTable[string](rows, "t")
		for _, k := range []string{"a", "b", "c"} {
			if _, err := table.Put(k, "one of "+k); err != nil {
				t.Fatal(err)
			}
		}
		client, err := nearcache.New(nearcache.Config{Redis: r.PipeOption(), Source: deafSource{rows, d},
			Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		load := func(ctx context.Context, k string) (nearcache.Entry[string], error) {
			d.at("Load")
			v, version, _, err := table.Load(ctx, k)
			return nearcache.Entry[string]{Value: v, Version: version}, err
		}
		o := nearcache.Options[string, string]{Load: load, Codec: deafCodec{d}, LoadTimeout: 5 * time.Second,
			Clone:     func(v string) string { d.at("Clone"); return v },
			Size:      func(v string) int64 { d.at("Size"); return int64(len(v)) },
			EncodeKey: func(k string) string { d.at("EncodeKey " + k); return k }}
		if many {
			o.LoadMany = func(ctx context.Context, ks []string) (map[string]nearcache.Entry[string], error) {
				d.at("LoadMany")
				out := make(map[string]nearcache.Entry[string])
				for _, k := range ks {
					e, err := load(ctx, k)
					if err != nil {
						return nil, err
					}
					out[k] = e
				}
				return out, nil
			}
		}
		c := newCache(t, client, o)
		resident(t, c, "a")
		test(t, client, c, d)
	})
}

// A callback that has a context and does not heed it keeps no caller longer than the caller's deadline, and Close
// neither.
func TestCallbacks_ThatIgnoreTheirContextsKeepNobody(t *testing.T) {
	type cache = nearcache.Cache[string, string]
	fresh := nearcache.ReadOptions{Fresh: true}
	for name, test := range map[string]struct {
		callback string
		call     func(context.Context, *cache, *deaf) error
	}{
		"Get": {"Load", func(ctx context.Context, c *cache, d *deaf) error { _, err := c.Get(ctx, "b"); return err }},
		"GetMany": {"LoadMany", func(ctx context.Context, c *cache, d *deaf) error {
			_, err := c.GetMany(ctx, []string{"b", "c"})
			return err
		}},
		"Fresh, the version": {"Version", func(ctx context.Context, c *cache, d *deaf) error {
			_, err := c.Read(ctx, "a", fresh)
			return err
		}},
		"Fresh, the value": {"Load", func(ctx context.Context, c *cache, d *deaf) error {
			_, err := c.Read(ctx, "b", fresh)
			return err
		}},
		"Fresh, the position": {"Position", func(ctx context.Context, c *cache, d *deaf) error {
			_, err := c.Read(ctx, "a", fresh)
			return err
		}},
		"Write": {"tx", func(ctx context.Context, c *cache, d *deaf) error {
			_, err := c.Write(ctx, "b", func(context.Context) (nearcache.Version, error) {
				d.at("tx")
				return 2, nil
			})
			return err
		}},
		"InvalidateTag": {"BumpKey", func(ctx context.Context, c *cache, d *deaf) error {
			return c.InvalidateTag(ctx, "x")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inDeafBubble(t, test.callback == "LoadMany", func(t *testing.T, client *nearcache.Client, c *cache, d *deaf) {
				d.callback = test.callback
				ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer stop()
				begun := time.Now()
				err := test.call(ctx, c, d)
				if took := time.Since(begun); !errors.Is(err, context.DeadlineExceeded) || took > 500*time.Millisecond {
					t.Errorf("%v after %v; want the deadline's error at 200ms, or 250ms later for a write", err, took)
				}
				begun = time.Now()
				err = client.Close()
				if took := time.Since(begun); err != nil || took > 15*time.Second {
					t.Errorf("Close: %v after %v", err, took)
				}
				close(d.letGo)
				time.Sleep(2 * time.Hour)
			})
		})
	}
}

// A callback without a context that does not return keeps its own caller. It keeps nobody else beyond the caller's
// deadline, and Close says that it gives up.
func TestCallbacks_ThatDoNotReturnKeepNobodyElse(t *testing.T) {
	type cache = nearcache.Cache[string, string]
	for _, callback := range []string{"Decode", "Append", "Clone", "Size", "EncodeKey b"} {
		t.Run(callback, func(t *testing.T) {
			inDeafBubble(t, false, func(t *testing.T, client *nearcache.Client, c *cache, d *deaf) {
				d.callback = callback
				done := make(chan struct{})
				go func() {
					defer close(done)
					for !d.struck.Load() { // it is loaded, then read in L2
						_ = c.Invalidate(context.Background(), "b", 0)
						for range 3 {
							_, _ = c.Get(context.Background(), "b")
						}
					}
				}()
				synctest.Wait()
				if !d.struck.Load() {
					t.Fatal("the callback was not called")
				}
				ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer stop()
				begun := time.Now()
				switch callback {
				case "Decode", "Append", "Size": // another reader of the key
					_, _ = c.Get(ctx, "b")
				case "EncodeKey b":
					_, _ = c.Get(ctx, "a")
				}
				if took := time.Since(begun); took > 300*time.Millisecond {
					t.Errorf("another reader was kept for %v, with a deadline of 200ms", took)
				}
				begun = time.Now()
				err := client.Close()
				if took := time.Since(begun); took > 16*time.Second {
					t.Errorf("Close took %v: %v", took, err)
				}
				if want := callback == "Decode" || callback == "Size" || callback == "Append"; (err != nil) != want {
					t.Errorf("Close returned %v", fmt.Sprint(err))
				}
				close(d.letGo)
				<-done
				time.Sleep(time.Minute)
			})
		})
	}
}
