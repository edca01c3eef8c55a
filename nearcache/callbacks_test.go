package nearcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// saboteur makes one callback misbehave in one way while it is armed.
type saboteur struct {
	callback, way string
	armed         atomic.Bool
	struck        atomic.Int64
}

var errStruck = errors.New("struck")

// at is the beginning of a callback. A callback without a context cannot hang until it ends, and one without an error
// cannot return one; mayErr and ctx say so.
func (s *saboteur) at(ctx context.Context, callback string) error {
	if callback != s.callback || !s.armed.Load() {
		return nil
	}
	s.struck.Add(1)
	switch s.way {
	case "panic":
		panic("boom")
	case "goexit":
		runtime.Goexit()
	case "hang":
		<-ctx.Done()
		return ctx.Err()
	}
	return errStruck
}

// name is a key with a MarshalText.
type name struct{ s string }

var marshalling atomic.Pointer[saboteur] // of the test that runs

func (n name) MarshalText() ([]byte, error) {
	if s := marshalling.Load(); s != nil {
		if err := s.at(context.Background(), "MarshalText"); err != nil {
			return nil, err
		}
	}
	return []byte(n.s), nil
}

func (n *name) UnmarshalText(b []byte) error {
	if s := marshalling.Load(); s != nil {
		if err := s.at(context.Background(), "UnmarshalText"); err != nil {
			return err
		}
	}
	n.s = string(b)
	return nil
}

type struckCodec struct{ s *saboteur }

func (c struckCodec) Append(b []byte, v string) ([]byte, error) {
	return append(b, v...), c.s.at(context.Background(), "Append")
}

func (c struckCodec) Decode(b []byte) (string, error) {
	return string(b), c.s.at(context.Background(), "Decode")
}

func (c struckCodec) Equal(a, b string) bool {
	return c.s.at(context.Background(), "Equal") == nil && a == b
}

// struckSource is a Source whose methods misbehave.
type struckSource struct {
	*nearcachetest.Source
	s *saboteur
}

func (s struckSource) Position(ctx context.Context) (coherence.Position, error) {
	if err := s.s.at(ctx, "Position"); err != nil {
		return coherence.Position{}, err
	}
	return s.Source.Position(ctx)
}

func (s struckSource) Abilities() coherence.Abilities {
	a := s.Source.Abilities()
	a.Versioner, a.Bumper, a.Checker, a.Identifier = s, s, s, s
	return a
}

func (s struckSource) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	if err := s.s.at(ctx, "Version"); err != nil {
		return 0, err
	}
	return s.Source.Version(ctx, namespace, key)
}

func (s struckSource) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	if err := s.s.at(ctx, "BumpKey"); err != nil {
		return 0, err
	}
	return s.Source.BumpKey(ctx, namespace, key)
}

func (s struckSource) Check(ctx context.Context) ([]coherence.Finding, error) {
	return nil, s.s.at(ctx, "Check")
}

func (s struckSource) Identity(ctx context.Context) (string, error) {
	if err := s.s.at(ctx, "Identity"); err != nil {
		return "", err
	}
	return s.Source.Identity(ctx)
}

// struckEvents is an EventSource of one partition.
type struckEvents struct{ s *saboteur }

func (e struckEvents) Run(ctx context.Context, sink coherence.Sink) error {
	sink.Partitions(1)
	sink.Session(0)
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			if err := e.s.at(ctx, "Run"); err != nil {
				return err
			}
		}
	}
}

func (e struckEvents) Ping(ctx context.Context) error { return e.s.at(ctx, "Ping") }

// struckCache is a cache all of whose callbacks may misbehave.
func struckCache(s *saboteur, r *nearcachetest.Redis, table *nearcachetest.Table[string], src *nearcachetest.Source,
	file string,
	many bool) (*nearcache.Client, *nearcache.Cache[name, string], error) {
	cfg := nearcache.Config{Redis: r.PipeOption(), Logger: slog.New(slog.DiscardHandler), Events: struckEvents{s},
		Heartbeat: time.Second,
		LoadTrace: func(_, load context.Context) context.Context {
			_ = s.at(load, "LoadTrace")
			return load
		}}
	if src != nil {
		cfg.Source = struckSource{src, s}
	}
	client, err := nearcache.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	one := func(ctx context.Context, k name) (nearcache.Entry[string], error) {
		v, version, ok, err := table.Load(ctx, k.s)
		if err == nil && !ok {
			err = nearcache.ErrNotFound
		}
		e := nearcache.Entry[string]{Value: v, Version: version}
		if strings.HasPrefix(k.s, "tagged") {
			e.Tags = []string{"tag"}
		}
		return e, err
	}
	o := nearcache.Options[name, string]{LoadTimeout: time.Second, LeaseWait: 500 * time.Millisecond,
		WriteTTL: time.Second,
		TTL:      3 * time.Second, Refresh: nearcache.Refresh{After: 0.3}, Codec: struckCodec{s}, L1Bytes: 1 << 20,
		Warm:  nearcache.Warm{File: file},
		Clone: func(v string) string { _ = s.at(context.Background(), "Clone"); return v },
		Size:  func(v string) int64 { _ = s.at(context.Background(), "Size"); return int64(len(v)) },
		Load: func(ctx context.Context, k name) (nearcache.Entry[string], error) {
			if err := s.at(ctx, "Load"); err != nil {
				return nearcache.Entry[string]{}, err
			}
			return one(ctx, k)
		}}
	if s.callback == "EncodeKey" || s.callback == "DecodeKey" {
		o.EncodeKey = func(k name) string { _ = s.at(context.Background(), "EncodeKey"); return k.s }
		o.DecodeKey = func(n string) (name, error) { return name{n}, s.at(context.Background(), "DecodeKey") }
	}
	if many {
		o.Load = nil
		o.LoadMany = func(ctx context.Context, ks []name) (map[name]nearcache.Entry[string], error) {
			if err := s.at(ctx, "LoadMany"); err != nil {
				return nil, err
			}
			m := make(map[name]nearcache.Entry[string])
			for _, k := range ks {
				if e, err := one(ctx, k); err == nil {
					m[k] = e
				}
			}
			return m, nil
		}
	}
	cache, err := nearcache.NewCache(client, "t", o)
	if err != nil {
		_ = client.Close()
		return nil, nil, err
	}
	return client, cache, nil
}

// finish runs f on a goroutine, and fails the test if it panics or has not ended after a minute of the bubble's time. A
// Goexit in it is no failure: it ends the goroutine that made the call, as it would without a cache.
func finish(t *testing.T, what string, f func()) {
	t.Helper()
	ended := make(chan any, 1)
	go func() {
		defer func() { ended <- recover() }()
		f()
	}()
	select {
	case p := <-ended:
		if p != nil {
			t.Errorf("%s: the caller got the panic %v", what, p)
		}
	case <-time.After(time.Minute):
		t.Fatalf("%s has not returned after a minute", what)
	}
}

func TestCallbacks_Misbehave(t *testing.T) {
	const noErr, noCtx = 1, 2 // what a callback cannot do
	for _, cb := range []struct {
		callback string
		cannot   int
		returned bool // a panic is returned by some call
	}{
		{"Clone", noErr | noCtx, true}, {"Size", noErr | noCtx, false}, {"EncodeKey", noErr | noCtx, true},
		{"DecodeKey", noCtx, false}, {"Append", noCtx, true}, {"Decode", noCtx, false}, {"Equal", noCtx, false},
		{"Load", 0, true}, {"LoadMany", 0, true}, {"tx", 0, true}, {"MarshalText", noCtx, true}, {"UnmarshalText", noCtx,
			false},
		{"Position", 0, false}, {"Version", 0, false}, {"BumpKey", 0, true}, {"Check", 0, false}, {"Identity", 0, false},
		{"Run", 0, false}, {"Ping", 0, false}, {"LoadTrace", noErr | noCtx, false},
	} {
		for _, way := range []string{"panic", "goexit", "error", "hang"} {
			if way == "error" && cb.cannot&noErr != 0 || way == "hang" && cb.cannot&noCtx != 0 {
				continue
			}
			for _, sourced := range []bool{false, true} {
				if !sourced && strings.Contains("Position Version BumpKey Check Identity", cb.callback) {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/source=%t", cb.callback, way, sourced), func(t *testing.T) {
					s := &saboteur{callback: cb.callback, way: way}
					synctest.Test(t, func(t *testing.T) { misbehave(t, s, sourced, cb.returned && way == "panic") })
					if s.struck.Load() == 0 {
						t.Error("the callback was never called")
					}
				})
			}
		}
	}
}

func misbehave(t *testing.T, s *saboteur, sourced, returned bool) {
	marshalling.Store(s)
	defer marshalling.Store(nil)
	r, err := nearcachetest.StartRedis("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rows := nearcachetest.NewSource()
	table := nearcachetest.NewTable[string](rows, "t")
	keys := []name{{"a"}, {"b"}, {"tagged"}, {"tagged2"}}
	for _, k := range keys {
		if _, err := table.Put(k.s, "one of "+k.s); err != nil {
			t.Fatal(err)
		}
	}
	src := rows
	if !sourced {
		src = nil
	}
	file := filepath.Join(t.TempDir(), "warm")
	many := s.callback == "LoadMany"
	client, cache, err := struckCache(s, r, table, src, file, many)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := client.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	for range 200 { // so that some keys are hot
		_, _ = cache.Get(ctx, keys[0])
	}
	s.armed.Store(true)
	var mu sync.Mutex
	panics := 0
	note := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if errors.Is(err, nearcache.ErrPanic) {
			panics++
		}
	}
	synctest.Wait() // this runs in the bubble of its caller
	for range 2 {
		exercise(t, s, cache, table, keys, note)
		time.Sleep(2 * time.Second) // values fall due and expire
	}
	if s.callback == "Check" || s.callback == "Identity" {
		time.Sleep(2 * time.Minute) // which brings them
	}
	s.armed.Store(false)
	if returned && panics == 0 {
		t.Error("no call returned ErrPanic")
	}
	time.Sleep(5 * time.Second)
	for _, k := range keys {
		finish(t, "a later Get", func() {
			want, _, _, _ := table.Load(ctx, k.s)
			if v, err := cache.Get(ctx, k); err != nil || v != want {
				t.Errorf("later: Get(%q) is %q, %v, want %q", k.s, v, err, want)
			}
		})
	}
	for range 200 {
		_, _ = cache.Get(ctx, keys[0])
	}
	s.armed.Store(true) // Close calls EncodeKey
	finish(t, "Close", func() { _ = client.Close() })
	s.armed.Store(false)
	reopen(t, s, r, table, src, file, many)
}

// reopen starts a client while its callbacks misbehave, and closes it.
func reopen(t *testing.T, s *saboteur, r *nearcachetest.Redis, table *nearcachetest.Table[string],
	src *nearcachetest.Source,
	file string, many bool) {
	t.Helper()
	ctx := t.Context()
	s.armed.Store(false)
	client, cache, err := struckCache(s, r, table, src, file, many)
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		_, _ = cache.Get(ctx, name{"a"})
	}
	finish(t, "Close of the second client", func() { _ = client.Close() })
	s.armed.Store(true)
	finish(t, "New and NewCache", func() { client, cache, err = struckCache(s, r, table, src, file, many) })
	if err != nil {
		t.Fatalf("a client with a callback that misbehaves: %v", err)
	}
	synctest.Wait() // this runs in the bubble of its caller
	time.Sleep(10 * time.Second)
	s.armed.Store(false)
	finish(t, "Get of the third client", func() {
		if v, err := cache.Get(ctx, name{"a"}); err != nil || v == "" {
			t.Errorf("the third client: %q, %v", v, err)
		}
	})
	finish(t, "Close of the third client", func() { _ = client.Close() })
}

// exercise makes calls of every kind.
func exercise(t *testing.T, s *saboteur, cache *nearcache.Cache[name, string], table *nearcachetest.Table[string],
	keys []name,
	note func(error)) {
	t.Helper()
	ctx := t.Context()
	calls := map[string]func(){
		"ReadMany": func() {
			for _, r := range cache.ReadMany(ctx, append(keys, keys...), nearcache.ReadOptions{}) {
				note(r.Err)
			}
		},
		"Fresh": func() {
			_, err := cache.Read(ctx, keys[0], nearcache.ReadOptions{Fresh: true})
			note(err)
		},
		"Write": func() {
			_, err := cache.Write(ctx, keys[0], func(ctx context.Context) (nearcache.Version, error) {
				tx, stop := context.WithTimeout(ctx, time.Second)
				defer stop()
				if err := s.at(tx, "tx"); err != nil {
					return 0, err
				}
				return table.Put(keys[0].s, "two of a")
			})
			note(err)
		},
		"WriteEntry": func() {
			_, err := cache.WriteEntry(ctx, keys[1], func(ctx context.Context) (nearcache.Entry[string], error) {
				tx, stop := context.WithTimeout(ctx, time.Second)
				defer stop()
				if err := s.at(tx, "tx"); err != nil {
					return nearcache.Entry[string]{}, err
				}
				v, err := table.Put(keys[1].s, "two of b")
				return nearcache.Entry[string]{Value: "two of b", Version: v}, err
			})
			note(err)
		},
		"Set": func() {
			v, err := table.Put(keys[1].s, "three of b")
			if err != nil {
				t.Error(err)
			}
			note(cache.Set(ctx, keys[1], nearcache.Entry[string]{Value: "three of b", Version: v}))
			note(cache.SetMany(ctx, map[name]nearcache.Entry[string]{keys[1]: {Value: "three of b", Version: v}}))
		},
		"Invalidate": func() {
			note(cache.Invalidate(ctx, keys[0], 0))
			note(cache.InvalidateMany(ctx, map[name]nearcache.Version{keys[0]: 1}))
		},
		"InvalidateTag": func() {
			bounded, stop := context.WithTimeout(ctx, time.Second)
			defer stop()
			note(cache.InvalidateTag(bounded, "tag"))
		},
	}
	for _, k := range keys {
		calls["Get "+k.s] = func() {
			for range 4 {
				_, err := cache.Get(ctx, k)
				note(err)
			}
		}
	}
	var wg sync.WaitGroup
	for what, f := range calls {
		for range 2 {
			wg.Go(func() { finish(t, what, f) })
		}
	}
	wg.Wait()
}
