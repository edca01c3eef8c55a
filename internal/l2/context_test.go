package l2_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// lent is a context that its owner takes back when the call that it was lent to has returned. It is of a type that the
// context package does not know, as package nearcache's are.
type lent struct {
	done  chan struct{}
	state *lentState
}

// lentState outlives the context, so that a test can look at it.
type lentState struct {
	over atomic.Bool
	late atomic.Int64 // uses after the end
}

func (l *lent) used() {
	if l.state.over.Load() {
		l.state.late.Add(1)
	}
}

func (l *lent) Deadline() (time.Time, bool) { l.used(); return time.Now().Add(time.Minute), true }
func (l *lent) Done() <-chan struct{}       { l.used(); return l.done }
func (l *lent) Err() error                  { l.used(); return nil }
func (l *lent) Value(any) any               { l.used(); return nil }

// lend runs f with a context and gives back what is left of it afterwards.
//
//go:noinline
func lend(f func(context.Context)) (weak.Pointer[lent], *lentState) {
	l := &lent{done: make(chan struct{}), state: &lentState{}}
	f(l)
	l.state.over.Store(true)
	return weak.Make(l), l.state
}

// Package nearcache uses the context of an answered request again, which is safe only while nobody below keeps one: not
// this package, and not rueidis, whose behaviour this pins. What kept it would keep it from the garbage collector.
func TestL2_KeepsNoContextOfAnAnsweredRequest(t *testing.T) {
	e := nearcachetest.NewRedis(t)
	var conns dialled
	opt := e.ClientOption()
	opt.DialCtxFn = conns.dial
	b := newBench(t, opt, nil)
	var ks []l2.Key
	for i := range 200 {
		ks = append(ks, b.Keyspace().Key("n", fmt.Sprint(i)))
	}
	for name, f := range map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error { _, _, err := b.Get(ctx, b.k, l2.ReadOptions{}); return err },
		"Get, watermark": func(ctx context.Context) error {
			_, _, err := b.Get(ctx, b.k, l2.ReadOptions{Watermark: true, Lease: true})
			return err
		},
		"GetMany": func(ctx context.Context) error { return b.GetMany(ctx, ks, l2.ReadOptions{Watermark: true})[0].Err },
		"a lease and its fill": func(ctx context.Context) error {
			id := l2.NewLeaseID()
			lease, err := b.Acquire(ctx, b.k, id, time.Minute, l2.AcquireOptions{})
			if err != nil {
				return err
			}
			if _, err = b.Renew(ctx, b.k, id, time.Minute); err != nil {
				return err
			}
			_, err = b.Fill(ctx, b.k, id, lease.Incarnation, l2.Record{Payload: []byte("v")}, time.Minute)
			return err
		},
		"many leases and fills": func(ctx context.Context) error {
			asks := make([]l2.AcquireRequest, len(ks))
			for i, k := range ks {
				asks[i].Key = k
			}
			fills := make([]l2.FillRequest, len(ks))
			for i, a := range b.AcquireMany(ctx, asks, time.Minute) {
				if a.Err != nil {
					return a.Err
				}
				fills[i] = l2.FillRequest{Key: ks[i], ID: a.Lease.ID, Incarnation: a.Lease.Incarnation, TTL: time.Minute}
			}
			return b.FillMany(ctx, fills)[0].Err
		},
		"Apply, after the connections were lost": func(ctx context.Context) error {
			conns.closeAll()
			err := b.Apply(ctx, b.k, 1)
			for tries := 0; err != nil && tries < 1000; tries++ {
				err = b.Apply(ctx, b.k, 1)
			}
			return err
		},
	} {
		pointers, states := make([]weak.Pointer[lent], 8), make([]*lentState, 8)
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { pointers[i], states[i] = lend(func(ctx context.Context) { errs[i] = f(ctx) }) })
		}
		wg.Wait()
		runtime.GC()
		for i := range 8 {
			if errs[i] != nil {
				b.t.Errorf("%s: got error %v, want none", name, errs[i])
			}
			testkit.Eventually(b.t, name+": its context is free", func() bool {
				runtime.GC()
				return pointers[i].Value() == nil
			})
			if n := states[i].late.Load(); n > 0 {
				b.t.Errorf("%s: its context was used %d times after it had returned", name, n)
			}
		}
	}
}

// dialled are the connections that were made.
type dialled struct {
	mu  sync.Mutex
	all []net.Conn
}

func (d *dialled) dial(ctx context.Context, addr string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.all = append(d.all, c)
	}
	return c, err
}

func (d *dialled) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.all {
		_ = c.Close()
	}
	d.all = nil
}
