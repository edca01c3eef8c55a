package eventstest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Line dials connections that a check can cut. The zero value is whole. It is safe for concurrent use.
type Line struct {
	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

// errCut is the answer of a Line that is cut.
var errCut = errors.New("eventstest: the line is cut")

// Dial connects, in the form of net.Dialer's Dial.
func (l *Line) Dial(network, address string) (net.Conn, error) {
	return l.DialContext(context.Background(), network, address)
}

// DialContext connects, in the form of net.Dialer's DialContext.
func (l *Line) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if l.isCut() {
		return nil, errCut
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		_ = c.Close()
		return nil, errCut
	}
	if l.conns == nil {
		l.conns = make(map[net.Conn]struct{})
	}
	own := &lineConn{c, l}
	l.conns[own] = struct{}{}
	return own, nil
}

func (l *Line) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// Cut closes all connections, and refuses others until Heal.
func (l *Line) Cut() {
	l.mu.Lock()
	l.cut = true
	conns := l.conns
	l.conns = nil
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// Heal ends a Cut.
func (l *Line) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}

// lineConn leaves the line when it is closed.
type lineConn struct {
	net.Conn
	line *Line
}

func (c *lineConn) Close() error {
	c.line.mu.Lock()
	delete(c.line.conns, c)
	c.line.mu.Unlock()
	return c.Conn.Close()
}
