package nearcachetest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"
)

// Redis is an in-process Redis with tracking. TTLs run with the clock (in a
// synctest bubble, with the bubble's), in steps of 50ms. It has no
// MULTI, no cluster, and of tracking the default mode alone. Safe for concurrent use.
type Redis struct {
	m *miniredis.Miniredis
	t *tracking

	stop chan struct{}
	wg   sync.WaitGroup
	once sync.Once
}

// NewRedis starts a Redis that ends with the test.
func NewRedis(tb TB) *Redis {
	tb.Helper()
	r, err := StartRedis("127.0.0.1:0")
	if err != nil {
		tb.Fatalf("nearcachetest: %v", err)
	}
	tb.Cleanup(r.Close)
	return r
}

// StartRedis starts a Redis that listens on addr. Close it. With addr "" it has no listener and only PipeOption reaches it:
// so it can be started inside a testing/synctest bubble, whose time does not pass while a goroutine waits for the network.
func StartRedis(addr string) (*Redis, error) {
	m := miniredis.NewMiniRedis()
	if addr != "" {
		if err := m.StartAddr(addr); err != nil {
			return nil, fmt.Errorf("nearcachetest: redis: %w", err)
		}
	} else if c, err := m.Dial(); err != nil { // starts it
		return nil, fmt.Errorf("nearcachetest: redis: %w", err)
	} else {
		_ = c.Close()
	}
	r := &Redis{m: m, t: newTracking(m), stop: make(chan struct{})}
	m.Server().SetPreHook(r.t.hook)
	r.wg.Go(r.expire)
	return r, nil
}

// expire moves the clock of all TTLs and pushes keys whose time has come, as Redis's active expiry does. miniredis could
// follow the clock by itself, but then goes through all keys at every command.
func (r *Redis) expire() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case now := <-tick.C:
			r.FastForward(now.Sub(last))
			last = now
		case <-r.stop:
			return
		}
	}
}

// Addr is its host:port, "" without a listener.
func (r *Redis) Addr() string { return r.m.Addr() }

// ClientOption connects to it over TCP.
func (r *Redis) ClientOption() rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{r.Addr()}}
}

// PipeOption connects to it through net.Pipe, which a synctest bubble can see through.
func (r *Redis) PipeOption() rueidis.ClientOption {
	o := rueidis.ClientOption{InitAddress: []string{"in-process:0"}}
	o.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { return r.m.Dial() }
	return o
}

// FastForward moves the clock of all TTLs.
func (r *Redis) FastForward(d time.Duration) {
	r.m.FastForward(d)
	r.t.sweep()
}

// Do runs a command as a client of its own would, so that it is pushed to whoever tracks its keys, and returns the reply
// as the protocol has it.
func (r *Redis) Do(cmd string, args ...string) string { return r.t.foreign(cmd, args) }

// Get is the value of a string key, and whether it is there.
func (r *Redis) Get(key string) (string, bool) {
	s, err := r.m.Get(key)
	return s, err == nil
}

// Keys are all keys, sorted.
func (r *Redis) Keys() []string { return r.m.Keys() }

// SetTrackingTableMaxKeys bounds the tracking table: over it a key is forgotten, and pushed. 0 is no bound.
func (r *Redis) SetTrackingTableMaxKeys(n int) { r.t.setMax(n) }

// TrackedKeys is how many keys the tracking table holds.
func (r *Redis) TrackedKeys() int { return r.t.len() }

// Evict removes a key for want of memory, as maxmemory would. It reports whether the key was there.
func (r *Redis) Evict(key string) bool { return r.Do("DEL", key) == ":1\r\n" }

// Fail makes every command answer with an error; "" ends that.
func (r *Redis) Fail(message string) { r.t.setError(message) }

// Stop closes the listener and all connections; the data stays.
func (r *Redis) Stop() {
	r.m.Close()
	r.t.forgetAll()
}

// Start listens again on the same address after Stop.
func (r *Redis) Start() error {
	if err := r.m.Restart(); err != nil {
		return err
	}
	r.m.Server().SetPreHook(r.t.hook)
	return nil
}

// Close ends it.
func (r *Redis) Close() {
	r.once.Do(func() {
		close(r.stop)
		r.wg.Wait()
		r.m.Close()
	})
}
