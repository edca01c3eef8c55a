package nearcache_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// source is a source of truth in memory, with versions that go on after deletes.
type source struct {
	mu       sync.Mutex
	values   map[string]string
	versions map[string]nearcache.Version
	loads    atomic.Int64
	before   func(key string) // runs before a load reads
	after    func(key string) // runs after a load has read and before it returns
}

func newSource() *source {
	return &source{values: map[string]string{}, versions: map[string]nearcache.Version{}}
}

func (s *source) load(_ context.Context, k string) (nearcache.Entry[string], error) {
	s.loads.Add(1)
	if s.before != nil {
		s.before(k)
	}
	s.mu.Lock()
	v, ok := s.values[k]
	ver := s.versions[k]
	s.mu.Unlock()
	if s.after != nil {
		s.after(k)
	}
	if !ok {
		return nearcache.Entry[string]{Version: ver}, nearcache.ErrNotFound
	}
	return nearcache.Entry[string]{Value: v, Version: ver}, nil
}

func (s *source) put(k, v string) nearcache.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[k] = v
	s.versions[k]++
	return s.versions[k]
}

func (s *source) del(k string) nearcache.Version {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, k)
	s.versions[k]++
	return s.versions[k]
}

func newClient(t testing.TB, cfg nearcache.Config) *nearcache.Client {
	t.Helper()
	c, err := nearcache.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func newCache(t testing.TB, c *nearcache.Client, o nearcache.Options[string, string]) *nearcache.Cache[string, string] {
	t.Helper()
	cache, err := nearcache.NewCache(c, "t", o)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

// open is a client of its own with one cache over src.
func open(t testing.TB, opt rueidis.ClientOption, src *source) *nearcache.Cache[string, string] {
	t.Helper()
	c := newClient(t, nearcache.Config{Redis: opt})
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newCache(t, c, nearcache.Options[string, string]{Load: src.load})
}

func get(t testing.TB, c *nearcache.Cache[string, string], k string) nearcache.Result[string] {
	t.Helper()
	r, err := c.Read(t.Context(), k, nearcache.ReadOptions{})
	if err != nil && !errors.Is(err, nearcache.ErrNotFound) {
		t.Fatal(err)
	}
	r.Age = 0
	return r
}

// resident reads until L1 serves the key.
func resident(t testing.TB, c *nearcache.Cache[string, string], k string) {
	t.Helper()
	testkit.Eventually(t, k+" is in L1", func() bool { return get(t, c, k).Tier == nearcache.TierL1 })
}

// value is a repository method without versions.
func (s *source) value(ctx context.Context, k string) (string, error) {
	e, err := s.load(ctx, k)
	return e.Value, err
}
