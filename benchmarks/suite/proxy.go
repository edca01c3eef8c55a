package suite

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// proxy is a TCP proxy: the network between one instance and its server. It can delay answers, and it can lose
// everything.
type proxy struct {
	addr, target string
	listener     net.Listener
	delay        atomic.Int64 // of answers, in nanoseconds
	dropping     atomic.Bool

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

func newProxy(to string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &proxy{addr: l.Addr().String(), target: to, listener: l, conns: map[net.Conn]struct{}{}}
	w.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // closed
			}
			w.wg.Go(func() { w.forward(near) })
		}
	})
	return w, nil
}

// dropAll silently loses all data, on open and on new connections.
func (w *proxy) dropAll() { w.dropping.Store(true) }

// restore ends that. It closes the connections that were open meanwhile, since they have lost data.
func (w *proxy) restore() {
	w.dropping.Store(false)
	w.closeConns(false)
}

func (w *proxy) closeConns(ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = w.closed || ended
	for c := range w.conns {
		_ = c.Close()
	}
}

func (w *proxy) close() {
	_ = w.listener.Close()
	w.closeConns(true)
	w.wg.Wait()
}

func (w *proxy) track(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.conns[c] = struct{}{}
	}
	return !w.closed
}

func (w *proxy) untrack(c net.Conn) {
	_ = c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
}

// forward serves one connection until either side ends it.
func (w *proxy) forward(near net.Conn) {
	defer w.untrack(near)
	far, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer w.untrack(far)
	if !w.track(near) || !w.track(far) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { w.copyDelayed(far, near, &w.delay); _ = near.Close() })
	w.copyDelayed(near, far, nil)
	_ = far.Close()
	wg.Wait()
}

// copyDelayed copies from one side to the other. Delays do not add up: each chunk is due at its arrival plus the delay.
func (w *proxy) copyDelayed(from, to net.Conn, late *atomic.Int64) {
	type chunk struct {
		b   []byte
		due time.Time
	}
	chunks := make(chan chunk, 4096)
	var wg sync.WaitGroup
	wg.Go(func() {
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(c.b); err != nil {
				_ = from.Close()
			}
		}
	})
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !w.dropping.Load() {
			c := chunk{b: append([]byte(nil), b[:n]...), due: time.Now()}
			if late != nil {
				c.due = c.due.Add(time.Duration(late.Load()))
			}
			chunks <- c
		}
		if err != nil {
			break
		}
	}
	close(chunks)
	wg.Wait()
}
