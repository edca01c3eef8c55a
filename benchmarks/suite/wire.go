package suite

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// wire is a TCP proxy: the network between one instance and its server, whose answers can be late, and which can lose
// everything.
type wire struct {
	addr, to string
	listener net.Listener
	late     atomic.Int64 // nanoseconds by which answers are held back
	dark     atomic.Bool

	mu    sync.Mutex
	ended bool
	open  map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newWire(to string) (*wire, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{addr: l.Addr().String(), to: to, listener: l, open: map[net.Conn]struct{}{}}
	w.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return // closed
			}
			w.wg.Go(func() { w.join(near) })
		}
	})
	return w, nil
}

// black loses whatever is sent, on connections of before and on new ones, and says nothing.
func (w *wire) black() { w.dark.Store(true) }

// heal ends that. Who had a connection meanwhile has lost data on it: it is reset.
func (w *wire) heal() {
	w.dark.Store(false)
	w.reset(false)
}

func (w *wire) reset(ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = w.ended || ended
	for c := range w.open {
		_ = c.Close()
	}
}

func (w *wire) close() {
	_ = w.listener.Close()
	w.reset(true)
	w.wg.Wait()
}

func (w *wire) hold(c net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended {
		w.open[c] = struct{}{}
	}
	return !w.ended
}

func (w *wire) drop(c net.Conn) {
	_ = c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
}

// join carries one connection until either side ends it.
func (w *wire) join(near net.Conn) {
	defer w.drop(near)
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer w.drop(far)
	if !w.hold(near) || !w.hold(far) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { w.carry(far, near, &w.late); _ = near.Close() })
	w.carry(near, far, nil)
	_ = far.Close()
	wg.Wait()
}

// carry copies from one side to the other. What is held back does not hold back what comes after it for longer: delays do not
// add up.
func (w *wire) carry(from, to net.Conn, late *atomic.Int64) {
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
		if n > 0 && !w.dark.Load() {
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
