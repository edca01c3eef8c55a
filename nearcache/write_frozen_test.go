package nearcache_test

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// With a Source a relay carries every change, so a write does not wait for a Redis that does not answer: at most for
// RedisTimeout, and not at all once reads pass Redis over.
func TestWrite_DoesNotWaitForAFrozenRedis(t *testing.T) {
	const timeout = 100 * time.Millisecond
	commit := func(context.Context) (nearcache.Version, error) { return 7, nil }
	writes := map[string]func(context.Context, *nearcache.Cache[string, string]) error{
		"Write": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			_, err := c.Write(ctx, "a", commit)
			return err
		},
		"WriteEntry": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			_, err := c.WriteEntry(ctx, "a", func(context.Context) (nearcache.Entry[string], error) {
				return nearcache.Entry[string]{Value: "v", Version: 7}, nil
			})
			return err
		},
		"Set": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			return c.Set(ctx, "a", nearcache.Entry[string]{Value: "v", Version: 7})
		},
		"SetMany": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			return c.SetMany(ctx, map[string]nearcache.Entry[string]{"a": {Value: "v", Version: 7}, "b": {Version: 2}})
		},
		"Invalidate": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			return c.Invalidate(ctx, "a", 7)
		},
		"InvalidateMany": func(ctx context.Context, c *nearcache.Cache[string, string]) error {
			return c.InvalidateMany(ctx, map[string]nearcache.Version{"a": 7, "b": 0})
		},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			inFrozenBubble(t, timeout, func(t *testing.T, c *nearcache.Cache[string, string],
				client *nearcache.Client, f *freezer, _ *commits) {
				f.freeze()
				for i := range 20 {
					begun := time.Now()
					if err := write(t.Context(), c); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(begun); took > timeout || i >= 5 && took > 0 {
						t.Errorf("write %d took %v; RedisTimeout is %v, and 5 failures open the breaker", i, took, timeout)
					}
				}
				if client.Status().Pending == 0 {
					t.Error("no change is pending")
				}
				f.thaw()
				time.Sleep(20 * time.Second)
				if n := client.Status().Pending; n != 0 {
					t.Errorf("%d changes are still pending after Redis has come back", n)
				}
			})
		})
	}
}

// freezer is a network on which what is sent is lost while it is frozen. A connection that has lost something is closed
// when it thaws.
type freezer struct {
	mu     sync.Mutex
	frozen bool
	lossy  map[net.Conn]bool
}

func (f *freezer) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = true
}

func (f *freezer) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = false
	for c := range f.lossy {
		_ = c.Close()
	}
}

type frozenConn struct {
	net.Conn
	f *freezer
}

func (c frozenConn) Write(b []byte) (int, error) {
	c.f.mu.Lock()
	if c.f.frozen {
		c.f.lossy[c.Conn] = true
		c.f.mu.Unlock()
		return len(b), nil
	}
	c.f.mu.Unlock()
	return c.Conn.Write(b)
}

// inFrozenBubble has a cache, with a Source, over a Redis that can be frozen.
func inFrozenBubble(t *testing.T, timeout time.Duration,
	test func(*testing.T, *nearcache.Cache[string, string], *nearcache.Client, *freezer, *commits)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		f := &freezer{lossy: map[net.Conn]bool{}}
		opt := redis.PipeOption()
		opt.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			c, err := redis.Dial()
			return frozenConn{c, f}, err
		}
		src := &commits{source: newSource()}
		client, err := nearcache.New(nearcache.Config{Redis: opt, RedisTimeout: timeout, Source: src})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, newCache(t, client, nearcache.Options[string, string]{Load: src.load}), client, f, src)
	})
}
