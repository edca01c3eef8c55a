package nearcachetest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"
)

// Redis is an in-process Redis with tracking. TTLs run with the clock; in a synctest bubble, with the bubble's. It has
// no MULTI, no cluster, and of tracking the default mode alone (RESP3, without OPTIN, NOLOOP or BCAST); it refuses the
// others. Safe for concurrent use.
type Redis struct {
	m *miniredis.Miniredis
	t *tracking
	n *network

	mu   sync.Mutex // of Stop and Start
	addr string
	up   bool

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

// StartRedis starts a Redis that listens on addr. Close it. With addr "" it has no listener and only PipeOption reaches
// it: so it can be started inside a testing/synctest bubble, whose time does not pass while a goroutine waits for the
// network.
func StartRedis(addr string) (*Redis, error) {
	m := miniredis.NewMiniRedis()
	r := &Redis{m: m, t: newTracking(m), n: newNetwork(), addr: addr, stop: make(chan struct{})}
	if err := r.Start(); err != nil {
		return nil, err
	}
	r.wg.Go(r.expire)
	return r, nil
}

// expire pushes keys whose time has come also while no command arrives, as Redis's active expiry does.
func (r *Redis) expire() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.catchUp()
		case <-r.stop:
			return
		}
	}
}

func (r *Redis) catchUp() { r.t.locked(func() { r.t.advance(time.Now()) }) }

// Addr is its host:port, "" without a listener. It stays the same over Stop and Start.
func (r *Redis) Addr() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addr
}

// ClientOption connects to it over TCP.
func (r *Redis) ClientOption() rueidis.ClientOption {
	return rueidis.ClientOption{InitAddress: []string{r.Addr()}}
}

// PipeOption connects to it through net.Pipe, which a synctest bubble can see through.
func (r *Redis) PipeOption() rueidis.ClientOption {
	o := rueidis.ClientOption{InitAddress: []string{"in-process:0"}}
	o.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { return r.Dial() }
	return o
}

// Dial connects to it through net.Pipe. While it is stopped the connection is refused.
func (r *Redis) Dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	if !r.n.add(theirs) {
		return nil, fmt.Errorf("nearcachetest: redis: %w", syscall.ECONNREFUSED)
	}
	return ours, nil
}

// FastForward moves the clock of all TTLs ahead, and pushes the keys that expire.
func (r *Redis) FastForward(d time.Duration) { r.t.locked(func() { r.t.elapse(d) }) }

// Do runs a command as a client of its own would, so that it is pushed to whoever tracks its keys, and returns the
// reply as the protocol, RESP2, has it. It works also while the Redis is stopped or paused.
func (r *Redis) Do(cmd string, args ...string) string { return r.t.foreign(cmd, args) }

// Get is the value of a string key, and whether it is there.
func (r *Redis) Get(key string) (string, bool) {
	r.catchUp()
	s, err := r.m.Get(key)
	return s, err == nil
}

// Keys are all keys of database 0, sorted.
func (r *Redis) Keys() []string {
	r.catchUp()
	return r.m.Keys()
}

// SetTrackingTableMaxKeys bounds the tracking table, at first to a million keys: over it a key is forgotten, and
// pushed. 0 is no bound.
func (r *Redis) SetTrackingTableMaxKeys(n int) { r.t.setMax(n) }

// TrackedKeys is how many keys the tracking table holds.
func (r *Redis) TrackedKeys() int { return r.t.len() }

// Evict removes a key for want of memory, as maxmemory would. It reports whether the key was there.
func (r *Redis) Evict(key string) bool { return r.Do("DEL", key) == ":1\r\n" }

// Fail makes every command answer with an error, as in "LOADING Redis is loading the dataset in memory"; "" ends that.
func (r *Redis) Fail(message string) { r.t.setError(message) }

// FailCommand makes one command answer with an error, also where a script calls it: "SET" with "OOM command not allowed
// when used memory > 'maxmemory'." is a full Redis. "" ends that.
func (r *Redis) FailCommand(command, message string) { r.t.setCommandError(command, message) }

// KillClients cuts all connections, as CLIENT KILL does: what was on its way to them, pushes too, is lost. New ones are
// taken.
func (r *Redis) KillClients() { r.n.kill() }

// Pause makes it as silent as a stopped process or a link that lost its other end: connections stand, new ones are
// taken, and nothing answers.
func (r *Redis) Pause() { r.n.pause(true) }

// Resume ends Pause. What arrived meanwhile is answered.
func (r *Redis) Resume() { r.n.pause(false) }

// Stop closes the listener and all connections; the data stays.
func (r *Redis) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.up {
		return
	}
	r.up = false
	r.n.close()
	r.m.Close()
}

// Start listens again on the same address after Stop, as if it had been out of reach. DEBUG CHANGE-REPL-ID makes it a
// server that has started again, or a replica that was promoted.
func (r *Redis) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up {
		return nil
	}
	r.m.Ctx, r.m.CtxCancel = context.WithCancel(context.Background()) // Stop has ended it
	c, err := r.m.Dial()                                              // starts it without a listener
	if err != nil {
		return fmt.Errorf("nearcachetest: redis: %w", err)
	}
	_ = c.Close()
	r.t.serve(r.m.Server())
	addr, err := r.n.open(r.addr, r.m.Server().ServeConn)
	if err != nil {
		r.m.Close()
		return fmt.Errorf("nearcachetest: redis: %w", err)
	}
	r.addr, r.up = addr, true
	return nil
}

// Close ends it.
func (r *Redis) Close() {
	r.once.Do(func() {
		close(r.stop)
		r.wg.Wait()
		r.Stop()
	})
}
