package demo

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"github.com/redis/rueidis"
)

// errCut is why a connection that is cut off cannot be made.
var errCut = errors.New("demo: the connection is cut")

// Link carries the connections of one instance to one service. It can be cut and frozen. All methods are safe for
// concurrent use.
type Link struct {
	tap func() *tap // makes one for each connection; nil: none

	frozen gate

	mu    sync.Mutex
	cut   bool
	conns map[*relayed]struct{}
}

// relayed is one connection through a link.
type relayed struct {
	near, far net.Conn
	once      sync.Once
	ended     chan struct{}
}

func (r *relayed) close() {
	r.once.Do(func() {
		close(r.ended)
		_ = r.near.Close()
		_ = r.far.Close()
	})
}

func newLink(newTap func() *tap) *Link {
	return &Link{tap: newTap, conns: make(map[*relayed]struct{})}
}

// Dial connects through the link. While the link is frozen it waits.
func (l *Link) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := l.pass(ctx.Done()); err != nil {
		return nil, err
	}
	var d net.Dialer
	far, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ours, near := net.Pipe()
	r := &relayed{near: near, far: far, ended: make(chan struct{})}
	l.mu.Lock()
	if l.cut {
		l.mu.Unlock()
		r.close()
		return nil, errCut
	}
	l.conns[r] = struct{}{}
	l.mu.Unlock()
	var see *tap
	if l.tap != nil {
		see = l.tap()
	}
	go l.carry(r, near, far, see)
	go l.carry(r, far, near, nil)
	return ours, nil
}

// Redis returns options that connect through the link.
func (l *Link) Redis(o rueidis.ClientOption) rueidis.ClientOption {
	o.DialCtxFn = func(ctx context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
		return l.Dial(ctx, "tcp", address)
	}
	return o
}

// carry copies one direction until the connection ends.
func (l *Link) carry(r *relayed, to, from net.Conn, see *tap) {
	defer func() {
		r.close()
		l.mu.Lock()
		delete(l.conns, r)
		l.mu.Unlock()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if l.pass(r.ended) != nil {
				return
			}
			if see != nil {
				see.feed(buf[:n])
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the link is frozen. The error says that the link is cut, or that stop was closed first.
func (l *Link) pass(stop <-chan struct{}) error {
	if err := l.frozen.wait(stop); err != nil {
		return err
	}
	if l.IsCut() {
		return errCut
	}
	return nil
}

// Cut ends all connections and refuses new ones.
func (l *Link) Cut() {
	l.mu.Lock()
	l.cut = true
	var all []*relayed
	for r := range l.conns {
		all = append(all, r)
	}
	l.mu.Unlock()
	for _, r := range all {
		r.close()
	}
}

// Heal ends Cut.
func (l *Link) Heal() {
	l.mu.Lock()
	l.cut = false
	l.mu.Unlock()
}

// IsCut reports whether the link is cut.
func (l *Link) IsCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// Freeze holds every byte back, in both directions, and new connections too.
func (l *Link) Freeze() { l.frozen.close() }

// Thaw ends Freeze. The bytes that were held back arrive.
func (l *Link) Thaw() { l.frozen.open() }
