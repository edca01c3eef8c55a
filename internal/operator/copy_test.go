package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
	"github.com/nearcache/nearcache-go/tier"
)

// place is where a prefix is: for copy, and for instances.
type place struct {
	redis   rueidis.ClientOption
	url     string
	prefix  string
	buckets int
}

// moving is a system whose prefix is about to have another number of buckets.
type moving struct {
	t     *testing.T
	src   *nearcachetest.Source
	loads atomic.Int64
}

// relay feeds a place until the test ends.
func (m *moving) relay(p place) *l2.L2 {
	m.t.Helper()
	store, err := tier.Open(tier.Config{Redis: p.redis, Prefix: p.prefix, Buckets: p.buckets})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- relay.Relay{Source: m.src, L2: store, Name: p.prefix + p.url, Interval: 20 * time.Millisecond}.Run(ctx)
	}()
	m.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			m.t.Error(err)
		}
		store.Close()
	})
	return l2.FromHandle(store.Handle())
}

// instance is one with a cache whose values are the versions of their keys.
func (m *moving) instance(p place) *nearcache.Cache[string, uint64] {
	m.t.Helper()
	client, err := nearcache.New(nearcache.Config{Redis: p.redis, Prefix: p.prefix, Buckets: p.buckets, Relayed: true,
		RedisTimeout: 30 * time.Second})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = client.Close() })
	if err := client.Ready(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	c, err := nearcache.NewCache(client, "product", nearcache.Options[string, uint64]{
		Load: func(ctx context.Context, k string) (nearcache.Entry[uint64], error) {
			m.loads.Add(1)
			v, err := m.src.Version(ctx, "product", k)
			return nearcache.Entry[uint64]{Value: uint64(v), Version: v}, err
		}})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *moving) write(i int) {
	m.src.Write("product", fmt.Sprint(i), coherence.OpUpdated)
}

func (m *moving) read(c *nearcache.Cache[string, uint64], names []string) map[string]uint64 {
	m.t.Helper()
	all := make(map[string]uint64, len(names))
	for some := range slices.Chunk(names, 100) {
		got, err := c.GetMany(m.t.Context(), some)
		if err != nil {
			m.t.Fatal(err)
		}
		maps.Copy(all, got)
	}
	return all
}

// settled waits until a relay has brought everything that was written to a place.
func (m *moving) settled(store *l2.L2) {
	m.t.Helper()
	upto, err := m.src.Position(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	testkit.Eventually(m.t, "the relay has brought the changes", func() bool { return has(store, upto) })
}

// has reports whether a place has everything up to a position.
func has(store *l2.L2, upto coherence.Position) bool {
	all, err := store.Reached(context.Background())
	for _, w := range all {
		if !w.Position.Covers(upto) {
			return false
		}
	}
	return err == nil
}

// writing writes the same few keys, one after the other has come to the place, until stop is called.
func (m *moving) writing(keys int, store *l2.L2) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; {
			upto, err := m.src.Position(context.Background())
			if err == nil && has(store, upto) {
				m.write(i % keys)
				i++
			}
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(end); <-ended }
}

// TestCopy_TheWholeProcedure: two relays, the copy while keys are written, and the first instance of the new place. It
// finds nearly all in the new L2, and nothing that is old.
func TestCopy_TheWholeProcedure(t *testing.T) {
	t.Run("one embedded server", func(t *testing.T) {
		redis := nearcachetest.NewRedis(t)
		opt := redis.ClientOption()
		copyWhole(t, place{opt, redis.Addr(), "nc", 64}, place{opt, redis.Addr(), "nd", 256})
	})
	t.Run("one server", func(t *testing.T) {
		opt, url := copying(servicestest.StartRedis(t))
		copyWhole(t, place{opt, url, "nc", 64}, place{opt, url, "nd", 256})
	})
	t.Run("to a Cluster", func(t *testing.T) {
		opt, url := copying(servicestest.StartRedis(t))
		clusterOpt, clusterURL := copying(servicestest.StartCluster(t, 3)...)
		copyWhole(t, place{opt, url, "nc", 64}, place{clusterOpt, clusterURL, "nc", 1024})
	})
}

// copying makes a user on the servers who may do what instances, relays and copy need, and no more.
func copying(servers ...*servicestest.RedisProcess) (opt rueidis.ClientOption, url string) {
	for _, s := range servers {
		s.Do(append([]string{"ACL", "SETUSER", "copier", "on", ">secret", "~nc:*", "~nd:*", "+scan", "+mget"},
			strings.Fields(l2.Rights(l2.Use{Cluster: len(servers) > 1}))...)...)
	}
	return rueidis.ClientOption{InitAddress: []string{servers[0].Addr}, Username: "copier", Password: "secret"},
		"redis://copier:secret@" + servers[0].Addr
}

func copyWhole(t *testing.T, from, to place) {
	const keys, written = 600, 30
	m := &moving{t: t, src: nearcachetest.NewSource()}
	for i := range keys {
		m.write(i)
	}
	m.settled(m.relay(from))
	names := make([]string, keys)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	m.read(m.instance(from), names)
	fresh := m.relay(to)
	m.settled(fresh)

	line := []string{"copy", "--redis", from.url, "--prefix", from.prefix, "--buckets", fmt.Sprint(from.buckets),
		"--to-redis", to.url, "--to-prefix", to.prefix, "--to-buckets", fmt.Sprint(to.buckets)}
	if got := object(t, nil, 0, line...); got["records"] != float64(keys) || got["copied"] != 0.0 {
		t.Errorf("the dry run says %v", got)
	}
	stop := m.writing(written, fresh)
	copied := 0.0
	testkit.Eventually(t, "everything is copied", func() bool { // a busy machine may need a second run
		code, out, _ := call(t, nil, append(line, "--yes", "--json")...)
		var got struct{ Copied float64 }
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		copied += got.Copied
		return code == 0
	})
	stop()
	if copied < keys-written {
		t.Errorf("%v records were copied, want at least %d", copied, keys-written)
	}

	m.settled(fresh)
	m.loads.Store(0)
	values := m.read(m.instance(to), names)
	for _, name := range names {
		if v, err := m.src.Version(t.Context(), "product", name); err != nil || values[name] != uint64(v) {
			t.Fatalf("key %s: the new place serves version %d, and the source has %d (%v)", name, values[name], v, err)
		}
	}
	if n := m.loads.Load(); n > written {
		t.Errorf("the first instance of the new place loads %d of %d keys, want at most the %d that were written", n, keys,
			written)
	}
	t.Logf("%v copied; the first instance loads %d of %d", copied, m.loads.Load(), keys)
}

// TestCopy_RefusesPlacesWithoutARelay: nothing would delete there what changes.
func TestCopy_RefusesPlacesWithoutARelay(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	env := map[string]string{"REDIS_URL": redis.Addr()}
	fails(t, env, 1, "no relay", "copy", "--to-prefix", "nd", "--yes")
	if keys := redis.Keys(); len(keys) != 0 {
		t.Errorf("got the keys %q, want none", keys)
	}
}
