package nearcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// scriptCount counts the scripts that clients send to a Redis: nothing else of theirs writes to it.
type scriptCount struct{ n atomic.Int64 }

func (s *scriptCount) option(r *nearcachetest.Redis) rueidis.ClientOption {
	o := r.PipeOption()
	dial := o.DialCtxFn
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		c, err := dial(ctx, addr, d, t)
		return &countedConn{c, s}, err
	}
	return o
}

type countedConn struct {
	net.Conn
	s *scriptCount
}

func (c *countedConn) Write(b []byte) (int, error) {
	c.s.n.Add(int64(bytes.Count(b, []byte("\r\nEVALSHA\r\n"))))
	return c.Conn.Write(b)
}

// eventFleet are instances on one Redis without a Source. Each follows events of somebody else, and has version 1 of
// its keys in L1.
type eventFleet struct {
	src     *source
	redis   *nearcachetest.Redis
	scripts scriptCount
	caches  []*nearcache.Cache[string, string]
	clients []*nearcache.Client
	sinks   []coherence.Sink
}

func inFleetBubble(t *testing.T, keys []string, test func(t *testing.T, f *eventFleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &eventFleet{src: newSource()}
		var err error
		if f.redis, err = nearcachetest.StartRedis(""); err != nil {
			t.Fatal(err)
		}
		defer f.redis.Close()
		for _, k := range keys {
			f.src.put(k, "one")
		}
		for range 3 {
			stream := events{make(chan coherence.Sink, 1)}
			client, err := nearcache.New(nearcache.Config{Redis: f.scripts.option(f.redis), Events: stream})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if err := client.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			cache := newCache(t, client, nearcache.Options[string, string]{Load: f.src.load})
			for _, k := range keys {
				for get(t, cache, k).Tier != nearcache.TierL1 {
					synctest.Wait()
				}
			}
			f.clients, f.caches = append(f.clients, client), append(f.caches, cache)
			f.sinks = append(f.sinks, <-stream.sink)
		}
		synctest.Wait()
		f.scripts.n.Store(0)
		test(t, f)
	})
}

// deliver hands the events of the keys' present versions to one instance.
func (f *eventFleet) deliver(t *testing.T, sink coherence.Sink, keys ...string) {
	t.Helper()
	var batch []coherence.Message
	for _, k := range keys {
		f.src.mu.Lock()
		batch = append(batch, coherence.Message{Event: coherence.Event{Namespace: "t", Key: k, Version: f.src.versions[k]}})
		f.src.mu.Unlock()
	}
	if err := sink.Deliver(t.Context(), 0, batch); err != nil {
		t.Error(err)
	}
}

// read wants the source's present state of a key from an instance.
func (f *eventFleet) read(t *testing.T, i int, k string) nearcache.Result[string] {
	t.Helper()
	r := get(t, f.caches[i], k)
	f.src.mu.Lock()
	defer f.src.mu.Unlock()
	if r.Value != f.src.values[k] || r.Version != f.src.versions[k] || r.Stale {
		t.Errorf("instance %d: got %+v, want version %d", i, r, f.src.versions[k])
	}
	return r
}

// Versioned events of another program reach both tiers: an instance that has not heard of one yet finds the old record
// gone, and so does one that has heard of it and forgotten it.
func TestVersionedEvent_ReachesL2(t *testing.T) {
	inFleetBubble(t, []string{"a"}, func(t *testing.T, f *eventFleet) {
		f.src.put("a", "two")
		f.deliver(t, f.sinks[0], "a")
		synctest.Wait()
		f.read(t, 1, "a") // has not heard of it
		f.read(t, 0, "a")
		f.deliver(t, f.sinks[1], "a")
		f.deliver(t, f.sinks[2], "a")
		time.Sleep(31 * time.Second) // min versions have aged
		for i := range f.caches {
			f.read(t, i, "a")
		}
		if n := f.src.loads.Load(); n > 3 {
			t.Errorf("got %d loads, want that instances read version 2 from Redis", n)
		}
	})
}

// An event costs one write in Redis, and not one for each instance.
func TestVersionedEvent_IsWrittenOnce(t *testing.T) {
	var many []string
	for i := range 50 {
		many = append(many, fmt.Sprint("k", i))
	}
	inFleetBubble(t, many, func(t *testing.T, f *eventFleet) {
		for _, k := range many {
			f.src.put(k, "two")
		}
		for _, sink := range f.sinks {
			f.deliver(t, sink, append(many, many...)...) // twice in one batch, too
			synctest.Wait()
		}
		if n := f.scripts.n.Load(); n != int64(len(many)) {
			t.Errorf("%d writes for %d events on 3 instances, want one for each event", n, len(many))
		}
		for i := range f.caches {
			f.read(t, i, many[0])
		}
	})
}

// Instances that hear of an event at the same moment may all find the old record. It is deleted once all the same.
func TestVersionedEvent_AtTheSameMoment(t *testing.T) {
	inFleetBubble(t, []string{"a"}, func(t *testing.T, f *eventFleet) {
		f.src.put("a", "two")
		var delivering sync.WaitGroup
		for _, sink := range f.sinks {
			delivering.Go(func() { f.deliver(t, sink, "a") })
		}
		delivering.Wait()
		if n := f.scripts.n.Load(); n < 1 || n > 3 {
			t.Errorf("got %d writes, want 1 to 3", n)
		}
		for i := range f.caches {
			f.read(t, i, "a")
		}
	})
}

// A reader that has loaded the state before the change does not fill L2 with it: the event takes its lease away.
func TestVersionedEvent_EndsALeaseInProgress(t *testing.T) {
	inFleetBubble(t, nil, func(t *testing.T, f *eventFleet) {
		f.src.put("a", "one")
		loaded, goOn := make(chan struct{}), make(chan struct{})
		var first sync.Once
		f.src.after = func(string) { first.Do(func() { close(loaded); <-goOn }) }
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = f.caches[1].Get(t.Context(), "a") })
		<-loaded
		f.src.put("a", "two")
		f.deliver(t, f.sinks[0], "a") // instance 1 has not heard of it
		close(goOn)
		reading.Wait()
		f.read(t, 2, "a") // from L2, or the source: it has not heard of the event either
	})
}

// While Redis is away the change waits, and reaches L2 when Redis is back.
func TestVersionedEvent_IsRetried(t *testing.T) {
	inFleetBubble(t, []string{"a"}, func(t *testing.T, f *eventFleet) {
		f.src.put("a", "two")
		f.redis.Fail("LOADING Redis is loading the dataset in memory")
		f.deliver(t, f.sinks[0], "a")
		if n := f.clients[0].Status().Pending; n != 1 {
			t.Errorf("got %d pending invalidations, want 1", n)
		}
		f.redis.Fail("")
		time.Sleep(10 * time.Second)
		if n := f.clients[0].Status().Pending; n != 0 {
			t.Errorf("got %d pending invalidations, want none", n)
		}
		f.read(t, 2, "a")
	})
}

// A reader that knew of the event when it was granted its lease keeps it: each further instance that hears of the event
// leaves it alone.
func TestVersionedEvent_SparesALeaseThatKnows(t *testing.T) {
	inFleetBubble(t, []string{"a"}, func(t *testing.T, f *eventFleet) {
		f.src.put("a", "two")
		f.deliver(t, f.sinks[0], "a")
		loading, goOn := make(chan struct{}), make(chan struct{})
		var first sync.Once
		f.src.before = func(string) { first.Do(func() { close(loading); <-goOn }) }
		var reading sync.WaitGroup
		reading.Go(func() { f.read(t, 0, "a") })
		<-loading
		before := f.src.loads.Load()
		f.deliver(t, f.sinks[1], "a")
		f.deliver(t, f.sinks[2], "a")
		close(goOn)
		reading.Wait()
		for i := range f.caches {
			f.read(t, i, "a")
		}
		if n := f.src.loads.Load() - before; n != 0 {
			t.Errorf("%d further loads, want none: the fill was taken", n)
		}
	})
}

// A Redis user without the right to GETRANGE costs a script for each instance, and nothing else.
func TestVersionedEvent_WithoutTheRightToGetrange(t *testing.T) {
	inFleetBubble(t, []string{"a"}, func(t *testing.T, f *eventFleet) {
		f.redis.FailCommand("GETRANGE", "NOPERM this user has no permissions to run the 'getrange' command")
		f.src.put("a", "two")
		for i, sink := range f.sinks {
			f.deliver(t, sink, "a")
			if n := f.clients[i].Status().Pending; n != 0 {
				t.Errorf("got %d pending invalidations, want none", n)
			}
		}
		for i := range f.caches {
			f.read(t, i, "a")
		}
	})
}
