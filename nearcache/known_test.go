package nearcache_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// twoGates hold back what Redis answers on the tracking connections, and on the others.
type twoGates struct{ tracking, commands replies }

// gatedConn finds out by what is sent which of the two it is.
type gatedConn struct {
	net.Conn
	of     *twoGates
	tracks atomic.Bool
}

func (c *gatedConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("TRACKING")) {
		c.tracks.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	r := &c.of.commands
	if c.tracks.Load() {
		r = &c.of.tracking
	}
	if gate := r.held.Load(); gate != nil {
		<-*gate
	}
	return n, err
}

func pipeRedis(t *testing.T) *nearcachetest.Redis {
	t.Helper()
	redis, err := nearcachetest.StartRedis("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	return redis
}

func has(redis *nearcachetest.Redis, key string) bool {
	_, ok := redis.Get(key)
	return ok
}

// gatedOn is an instance without a Source and without L1.
func gatedOn(t *testing.T, redis *nearcachetest.Redis, g *twoGates) (*nearcache.Cache[string, string], *source) {
	t.Helper()
	cfg := nearcache.Config{Redis: redis.PipeOption(), RedisTimeout: time.Minute}
	cfg.Redis.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
		c, err := redis.Dial()
		return &gatedConn{Conn: c, of: g}, err
	}
	cfg.Redis.ConnWriteTimeout = time.Minute // so that it is slow, and not gone
	client := newClient(t, cfg)
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	src := newSource()
	return newCache(t, client, nearcache.Options[string, string]{Find: src.value, L1Bytes: -1}), src
}

// TestKnown_APendingChangeIsSentDuringARead: a read asked L2 while a change of its key was pending. The change is sent
// before the reader looks at the answer, which is the old record.
func TestKnown_APendingChangeIsSentDuringARead(t *testing.T) { // C2
	synctest.Test(t, func(t *testing.T) {
		redis, g := pipeRedis(t), &twoGates{}
		c, src := gatedOn(t, redis, g)
		src.put("a", "old")
		for get(t, c, "a").Tier != nearcache.TierL2 {
			time.Sleep(time.Millisecond)
		}
		redis.FailCommand("EVALSHA", "ERR not now")
		src.put("a", "new")
		if err := c.Invalidate(t.Context(), "a", 0); !errors.Is(err, nearcache.ErrNotInvalidated) {
			t.Fatalf("got error %v, want ErrNotInvalidated", err)
		}
		release := g.tracking.hold()
		r := startReading(t.Context(), c, "a")
		redis.FailCommand("EVALSHA", "")
		time.Sleep(time.Second)
		if has(redis, key("a").Record) {
			t.Fatal("the pending change was not sent")
		}
		release()
		<-r.done
		if r.err != nil || r.Value != "new" {
			t.Errorf("got %+v and error %v, want the new value", r.Result, r.err)
		}
	})
}

// TestKnown_AChangeIsToldAgainDuringARead: a read asked a server that took over, and has not been told of a change. It
// is before the reader looks at the answer, which is the old record.
func TestKnown_AChangeIsToldAgainDuringARead(t *testing.T) { // C2
	synctest.Test(t, func(t *testing.T) {
		redis, g := pipeRedis(t), &twoGates{}
		c, src := gatedOn(t, redis, g)
		src.put("a", "new")
		if err := c.Invalidate(t.Context(), "a", 0); err != nil { // acknowledged, and lost with its server
			t.Fatal(err)
		}
		releaseCommands := g.commands.hold()
		redis.Do("DEBUG", "CHANGE-REPL-ID")
		other, old := gatedOn(t, redis, &twoGates{})
		old.put("a", "old")
		for get(t, other, "a").Tier != nearcache.TierL2 {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(1100 * time.Millisecond) // a heartbeat: the change is to be told again, and is not yet
		release := g.tracking.hold()
		r := startReading(t.Context(), c, "a")
		releaseCommands()
		synctest.Wait()
		if has(redis, key("a").Record) {
			t.Fatal("the change was not told again")
		}
		release()
		<-r.done
		if r.err != nil || r.Value != "new" {
			t.Errorf("got %+v and error %v, want the new value", r.Result, r.err)
		}
	})
}
