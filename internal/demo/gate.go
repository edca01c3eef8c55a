package demo

import (
	"context"
	"sync"
	"time"
)

// gate holds up whoever comes while it is shut. Its zero value is open. It is safe for concurrent use.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // closed when the gate opens; nil: it is open
}

// wait returns when the gate is open, or an error when stop is closed before.
func (g *gate) wait(stop <-chan struct{}) error {
	for {
		g.mu.Lock()
		shut := g.shut
		g.mu.Unlock()
		if shut == nil {
			return nil
		}
		select {
		case <-shut:
		case <-stop:
			return context.Canceled
		}
	}
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut != nil
}

// brake makes the loads of one instance slow, or holds those of one product between their read of the database and
// their answer. Its zero value does neither. It is safe for concurrent use.
type brake struct {
	mu    sync.Mutex
	delay time.Duration
	id    string // whose loads are held; "": none
	held  gate
	count [3]int // loads that are held, by the kind of cache
}

// pass is called by every load after it has read the database. kind is that of the cache, as in Demo.scores.
func (b *brake) pass(ctx context.Context, kind int, id string) error {
	b.mu.Lock()
	delay, holds := b.delay, b.id == id
	if holds {
		b.count[kind]++
	}
	b.mu.Unlock()
	if delay > 0 {
		pause(ctx, delay)
	}
	if holds {
		return b.held.wait(ctx.Done())
	}
	return ctx.Err()
}

func (b *brake) slow(d time.Duration) {
	b.mu.Lock()
	b.delay = d
	b.mu.Unlock()
}

// hold begins to hold the loads of a product, until release is called.
func (b *brake) hold(id string) (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.id, b.count = id, [3]int{}
	b.held.close()
	return func() {
		b.mu.Lock()
		b.id = ""
		b.mu.Unlock()
		b.held.open()
	}
}

// holds reports whether a load of this kind of cache is held.
func (b *brake) holds(kind int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count[kind] > 0
}
