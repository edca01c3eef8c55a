package nearcachetest

import (
	"net"
	"sync"
	"time"
)

// outputLimit is how much a connection may have to send before it is closed, for want of a client that reads.
const outputLimit = 256 << 20

// network is what the clients' connections go through: it accepts them, pauses and kills them.
type network struct {
	mu     sync.Mutex
	serve  func(net.Conn) // runs a connection's commands, in a goroutine of its own; nil while closed
	l      net.Listener
	conns  map[*conn]struct{}
	paused bool
	wg     sync.WaitGroup
}

func newNetwork() *network { return &network{conns: make(map[*conn]struct{})} }

// open takes connections again, also on addr unless it is "", and returns the address in full.
func (n *network) open(addr string, serve func(net.Conn)) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serve = serve
	if addr == "" {
		return "", nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		n.serve = nil
		return "", err
	}
	n.l = l
	n.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.add(c)
		}
	})
	return l.Addr().String(), nil
}

// add serves a connection, unless the network is closed.
func (n *network) add(c net.Conn) bool {
	k := &conn{Conn: c, n: n, moved: sync.NewCond(&n.mu)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.serve == nil {
		_ = c.Close()
		return false
	}
	n.conns[k] = struct{}{}
	n.wg.Go(k.write)
	n.serve(k) // starts a goroutine
	return true
}

// pause makes all connections as silent as a stopped process's: they stand, and nothing comes out of them.
func (n *network) pause(paused bool) {
	n.mu.Lock()
	n.paused = paused
	for k := range n.conns {
		k.moved.Broadcast()
	}
	n.mu.Unlock()
}

// kill cuts all connections, whatever they still have to send.
func (n *network) kill() {
	n.mu.Lock()
	var all []*conn
	for k := range n.conns {
		all = append(all, k)
	}
	n.mu.Unlock()
	for _, k := range all {
		k.kill()
	}
}

// close ends the listener and all connections, and waits for what it has started.
func (n *network) close() {
	n.mu.Lock()
	n.serve = nil
	if n.l != nil {
		_ = n.l.Close()
		n.l = nil
	}
	n.mu.Unlock()
	n.kill()
	n.wg.Wait()
}

// conn is a client's connection. Its Write only queues: a client that does not read must hold up nobody else, though
// what is pushed to it is written by those who change keys.
type conn struct {
	net.Conn
	n *network

	// guarded by n.mu
	moved  *sync.Cond // one of these has changed, or n.paused
	out    []byte
	ending bool // send what there is, then end
	dead   bool
}

// Read holds back what comes while the server is paused.
func (k *conn) Read(b []byte) (int, error) {
	m, err := k.Conn.Read(b)
	k.n.mu.Lock()
	defer k.n.mu.Unlock()
	for k.n.paused && !k.dead {
		k.moved.Wait()
	}
	if k.dead {
		return 0, net.ErrClosed
	}
	return m, err
}

func (k *conn) Write(b []byte) (int, error) {
	k.n.mu.Lock()
	defer k.n.mu.Unlock()
	if k.dead || k.ending {
		return 0, net.ErrClosed
	}
	if len(k.out)+len(b) > outputLimit {
		k.dead = true
		_ = k.Conn.Close()
		k.moved.Broadcast()
		return 0, net.ErrClosed
	}
	k.out = append(k.out, b...)
	k.moved.Broadcast()
	return len(b), nil
}

// write sends what Write has queued.
func (k *conn) write() {
	defer k.kill()
	for {
		k.n.mu.Lock()
		for !k.dead && (k.n.paused || len(k.out) == 0 && !k.ending) {
			k.moved.Wait()
		}
		out, dead := k.out, k.dead
		k.out = nil
		k.n.mu.Unlock()
		if dead || len(out) == 0 {
			return
		}
		if _, err := k.Conn.Write(out); err != nil {
			return
		}
	}
}

// Close sends what is queued and ends the connection; a client that does not take it is given a second.
func (k *conn) Close() error {
	k.n.mu.Lock()
	defer k.n.mu.Unlock()
	if !k.ending && !k.dead {
		k.ending = true
		_ = k.SetWriteDeadline(time.Now().Add(time.Second))
		k.moved.Broadcast()
	}
	return nil
}

func (k *conn) kill() {
	k.n.mu.Lock()
	defer k.n.mu.Unlock()
	k.dead = true
	_ = k.Conn.Close()
	delete(k.n.conns, k)
	k.moved.Broadcast()
}
