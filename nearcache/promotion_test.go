package nearcache_test

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// address leads connections to one of several Redis, as a name does that is promoted from one to the next.
type address struct {
	at atomic.Pointer[nearcachetest.Redis]
}

func to(r *nearcachetest.Redis) *address {
	a := &address{}
	a.at.Store(r)
	return a
}

func (a *address) option() rueidis.ClientOption {
	o := rueidis.ClientOption{InitAddress: []string{"in-process:0"}}
	o.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { return a.at.Load().Dial() }
	return o
}

// promote leads the address to another Redis.
func (a *address) promote(r *nearcachetest.Redis) {
	before := a.at.Swap(r)
	before.KillClients()
}

// alone opens a cache of an instance that has Redis and nothing else. Its source has no versions.
func alone(t *testing.T, a *address, src *source) *nearcache.Cache[string, string] {
	t.Helper()
	client := newClient(t, nearcache.Config{Redis: a.option(), Heartbeat: 20 * time.Millisecond})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return newCache(t, client, nearcache.Options[string, string]{
		Find: src.value,
	})
}

// write replaces the value of the key, in the source and through the cache.
func write(t *testing.T, c *nearcache.Cache[string, string], src *source, k, v string) {
	t.Helper()
	_, err := c.Write(t.Context(), k, func(context.Context) (nearcache.Version, error) {
		src.put(k, v)
		return 0, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// replicate brings a Redis to where another one is.
func replicate(t *testing.T, from, to *nearcachetest.Redis) {
	t.Helper()
	for _, k := range from.Keys() {
		v, ok := from.Get(k)
		if reply := to.Do("SET", k, v, "PX", "600000"); ok && !strings.HasPrefix(reply, "+OK") {
			t.Fatalf("SET %s: %q", k, reply)
		}
	}
}

// A replica is promoted that lacks an invalidation which the old primary had acknowledged. No instance believes its old
// record: not those that were connected, nor one that comes after.
func TestPromotion_OfAReplicaThatLacksAWrite(t *testing.T) { // C2
	src, old, replica := newSource(), nearcachetest.NewRedis(t), nearcachetest.NewRedis(t)
	src.put("a", "one")
	a := to(old)
	writer, reader := alone(t, a, src), alone(t, a, src)
	resident(t, writer, "a")
	resident(t, reader, "a")
	replicate(t, old, replica)
	write(t, writer, src, "a", "two")
	testkit.Eventually(t, "the reader has heard of the write", func() bool { return get(t, reader, "a").Value == "two" })
	a.promote(replica)
	late := alone(t, a, src)
	for name, c := range map[string]*nearcache.Cache[string, string]{"writer": writer, "reader": reader, "late": late} {
		testkit.Eventually(t, name+" is served by L1 again", func() bool {
			r := get(t, c, "a")
			if r.Value != "two" {
				t.Fatalf("%s: got %+v, want the new value", name, r)
			}
			return r.Tier == nearcache.TierL1
		})
	}
}

// A writer has not heard of the promotion: the old primary acknowledges its invalidation, while the new one has the old
// record. The writer tells the new one when it comes there, and is served no old value itself.
func TestPromotion_TheWriterHearsOfLate(t *testing.T) { // C2
	src, old, promoted := newSource(), nearcachetest.NewRedis(t), nearcachetest.NewRedis(t)
	src.put("a", "one")
	of, ahead := to(old), to(promoted)
	writer, reader := alone(t, of, src), alone(t, ahead, src)
	resident(t, writer, "a")
	resident(t, reader, "a")
	write(t, writer, src, "a", "two")
	if got := get(t, reader, "a").Value; got != "one" {
		t.Fatalf("got %q at the promoted server, which nobody has told", got)
	}
	of.promote(promoted)
	testkit.Eventually(t, "the reader has heard of the write", func() bool {
		if got := get(t, writer, "a").Value; got != "two" {
			t.Fatalf("the writer is served %q after its own write", got)
		}
		return get(t, reader, "a").Value == "two"
	})
}
