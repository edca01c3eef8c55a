package tier_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

func open(t *testing.T, redis *nearcachetest.Redis) *tier.L2 {
	t.Helper()
	l, err := tier.Open(tier.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := l.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// put fills a record as a cache does.
func put(t *testing.T, l *tier.L2, key string, v coherence.Version) {
	t.Helper()
	engine := l2.FromHandle(l.Handle())
	k := engine.Keyspace().Key("n", key)
	lease, err := engine.Acquire(t.Context(), k, l2.NewLeaseID(), 1e9, l2.AcquireOptions{})
	if err != nil || lease.Status != l2.Granted {
		t.Fatalf("acquire: %v, %v", lease.Status, err)
	}
	rec := l2.Record{Version: v, Payload: []byte("x")}
	if got, err := engine.Fill(t.Context(), k, lease.ID, lease.Incarnation, rec, 60e9); err != nil || got != l2.Filled {
		t.Fatalf("fill: %v, %v", got, err)
	}
}

func has(t *testing.T, l *tier.L2, key string) bool {
	t.Helper()
	_, ok, err := l.Get(t.Context(), "n", key)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestApply_DropsWhatIsOlder(t *testing.T) {
	l := open(t, nearcachetest.NewRedis(t))
	for _, key := range []string{"older", "same", "newer", "unversioned"} {
		put(t, l, key, 5)
	}
	err := l.Apply(t.Context(),
		coherence.Event{Namespace: "n", Key: "older", Version: 6}, coherence.Event{Namespace: "n", Key: "same", Version: 5},
		coherence.Event{Namespace: "n", Key: "newer", Version: 4}, coherence.Event{Namespace: "n", Key: "unversioned"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{"older": false, "same": true, "newer": true, "unversioned": false} {
		if got := has(t, l, key); got != want {
			t.Errorf("the record %q is there: got %v, want %v", key, got, want)
		}
	}
}

func TestApply_AMalformedEventIsReportedAndTheOthersApply(t *testing.T) {
	l := open(t, nearcachetest.NewRedis(t))
	put(t, l, "a", 1)
	put(t, l, "b", 1)
	err := l.Apply(t.Context(),
		coherence.Event{Namespace: "n", Key: "a", Version: 2}, coherence.Event{Namespace: "n:m", Key: "x", Version: 2},
		coherence.Event{Key: "x", Version: 2}, coherence.Event{Namespace: "n", Key: "b", Version: 2})
	if !errors.Is(err, coherence.ErrMalformed) || !strings.Contains(err.Error(), `"n:m" contains a colon`) ||
		!strings.Contains(err.Error(), `"" is empty`) {
		t.Errorf("got error %v, want ErrMalformed that names both namespaces", err)
	}
	if has(t, l, "a") || has(t, l, "b") {
		t.Error("the good events were not applied")
	}
}

func TestApply_SaysThatRedisIsAway(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	l := open(t, redis)
	redis.Close()
	err := l.Apply(t.Context(), coherence.Event{Namespace: "n", Key: "a", Version: 2})
	if !errors.Is(err, tier.ErrUnavailable) {
		t.Errorf("got error %v, want ErrUnavailable", err)
	}
	if err := l.Apply(t.Context()); err != nil {
		t.Errorf("no events: got error %v, want none", err)
	}
}

func TestOpen_RefusesWhatCannotWork(t *testing.T) {
	opt := nearcachetest.NewRedis(t).ClientOption()
	for name, cfg := range map[string]tier.Config{
		"no address":   {},
		"a bad prefix": {Redis: opt, Prefix: "a{b"},
		"own pushes": {Redis: rueidis.ClientOption{
			InitAddress: opt.InitAddress, OnInvalidations: func([]rueidis.RedisMessage) {}}},
		"a line break":  {Redis: opt, Prefix: "a\nb"},
		"a long prefix": {Redis: opt, Prefix: strings.Repeat("p", 129)},
	} {
		if l, err := tier.Open(cfg); err == nil {
			l.Close()
			t.Errorf("%s: opened, want an error", name)
		}
	}
}

// wiretap keeps what is written to Redis.
type wiretap struct {
	mu   sync.Mutex
	sent strings.Builder
}

func (w *wiretap) dial(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := d.DialContext(ctx, "tcp", addr)
	return tapped{c, w}, err
}

type tapped struct {
	net.Conn
	w *wiretap
}

func (c tapped) Write(b []byte) (int, error) {
	c.w.mu.Lock()
	c.w.sent.Write(b)
	c.w.mu.Unlock()
	return c.Conn.Write(b)
}

// TestOpen_TracksNothing: there is nobody for the pushes, and Redis need not remember the keys.
func TestOpen_TracksNothing(t *testing.T) {
	redis, tap := nearcachetest.NewRedis(t), &wiretap{}
	opt := rueidis.ClientOption{InitAddress: []string{redis.Addr()}, DialCtxFn: tap.dial}
	l, err := tier.Open(tier.Config{Redis: opt})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, l, "a", 1)
	if !has(t, l, "a") {
		t.Fatal("no record: this shows nothing")
	}
	tap.mu.Lock()
	defer tap.mu.Unlock()
	if sent := tap.sent.String(); strings.Contains(sent, "TRACKING") || !strings.Contains(sent, "HELLO") {
		t.Errorf("got %q, want a HELLO and no TRACKING", sent)
	}
}

func TestShare_CloseLeavesTheClientOpen(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	client.L2().Close()
	event := coherence.Event{Namespace: "n", Key: "a", Version: 2}
	if err := client.L2().Apply(context.Background(), event); err != nil {
		t.Errorf("after Close of the shared L2: %v", err)
	}
}
