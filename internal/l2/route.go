package l2

import (
	"errors"
	"math"
	"net"
	"sync"
	"sync/atomic"
)

// routes notices when the commands of a bucket go to another tracking connection than before. Most of the time that is
// one which was dialled since, and dialling began a session. But a client of a Cluster keeps connections to all nodes,
// and one of Sentinel dials the new primary before it stops asking the old one:
//
//	load: GETs version 1 from node A, which tracks the key      A is demoted, and B promoted: the client knows both, and
//	                                                            dials nobody
//	relay: applies version 2 and watermark 7 to B, whose pushes of this key go to nobody
//	heartbeat: reads watermark 7 from B                         reader: its entry of version 1 is proved by it
//
// So a bucket's session also ends before the first command goes elsewhere.
type routes struct {
	tag     []byte // what a key of ours begins with, up to its bucket's number
	tracker Tracker
	mu      sync.Mutex
	begun   atomic.Uint64 // dials whose session may have begun; one at a time
	done    atomic.Uint64 // those whose session has begun
	last    [Buckets]atomic.Pointer[route]

	probing sync.Mutex          // held by the one Probe that tries the connections
	tap     atomic.Pointer[tap] // what it sees of them; nil: there is none
}

// route is where a bucket's last command went, and begun by then. Whoever sent it knew of no session of a later dial.
type route struct {
	conn  *routedConn
	begun uint64
}

func newRoutes(prefix string, tracker Tracker) *routes {
	return &routes{tag: []byte(prefix + ":{"), tracker: tracker}
}

// dialled begins a session.
func (r *routes) dialled(conn net.Conn) net.Conn {
	r.mu.Lock()
	r.begun.Add(1)
	r.tracker.SessionChanged()
	r.done.Add(1)
	r.mu.Unlock()
	if conn == nil {
		return nil
	}
	return &routedConn{Conn: conn, routes: r}
}

// to says that a command of the bucket is about to be written to a connection. A move needs no session of its own if a
// dial's has begun, whole, since the last command elsewhere.
func (r *routes) to(c *routedConn, bucket int) {
	begun := r.begun.Load()
	was := r.last[bucket].Load()
	if was != nil && was.conn == c && was.begun == begun {
		return
	}
	was = r.last[bucket].Swap(&route{c, begun})
	if was == nil || was.conn == c || was.begun < r.done.Load() {
		return
	}
	if t, ok := r.tracker.(BucketTracker); ok {
		t.BucketMoved(bucket)
	} else {
		r.tracker.SessionChanged()
	}
}

// node is the connection that a bucket's last command went to, nil if there was none or none is known.
func (r *routes) node(bucket int) any {
	if r == nil {
		return nil
	}
	if last := r.last[bucket].Load(); last != nil {
		return last.conn
	}
	return nil
}

// together are the buckets whose last commands went to the same connection as the last one of a bucket. Without routes
// nothing is known of any.
func (r *routes) together(bucket int) (set BucketSet) {
	if r == nil {
		return 0
	}
	to := r.last[bucket].Load()
	for b := range r.last {
		if at := r.last[b].Load(); to != nil && at != nil && at.conn == to.conn {
			set = set.With(b)
		}
	}
	return set
}

// routedConn follows the commands that rueidis writes, wherever one write ends and the next begins, and looks at how
// their keys begin. It goes by the lengths that the protocol states: a name that a user has chosen may hold anything,
// what looks like another command too. All commands of the tracking connection have their key, if any, as their first
// argument. One goroutine at a time writes to a connection.
type routedConn struct {
	net.Conn
	routes *routes
	kind   byte // of the header that is being read: '*' of a command, '$' of a part of it
	number int  // its digits so far
	part   int  // of the command: 1 is its name, 2 its key
	rest   int  // bytes that are left of the part, the line break behind it included

	matched int // bytes of the tag that the key begins with; otherKey: it is none of ours, or has been seen
	bucket  int // the digits after the tag so far, -1: none
}

const otherKey = -1

// errNoCommand ends a connection on which the commands can no longer be followed: no bucket's session could be trusted.
var errNoCommand = errors.New("l2: what is written to Redis is no command of the protocol")

func (c *routedConn) Write(p []byte) (int, error) {
	if !c.scan(p) {
		return 0, errNoCommand
	}
	return c.Conn.Write(p)
}

func (c *routedConn) Read(p []byte) (n int, err error) {
	n, err = c.Conn.Read(p)
	if tap := c.routes.tap.Load(); tap != nil {
		tap.read(c, p[:n])
	}
	return n, err
}

// scan reports whether what is written are commands.
func (c *routedConn) scan(p []byte) bool {
	for len(p) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(p))
			if c.part == 2 {
				c.scanKey(p[:n])
			}
			c.rest -= n
			p = p[n:]
			continue
		}
		switch b := p[0]; {
		case b == '*' || b == '$':
			c.kind, c.number = b, 0
		case b >= '0' && b <= '9' && c.number <= math.MaxInt32:
			c.number = c.number*10 + int(b-'0')
		case b == '\r':
		case b == '\n' && c.kind == '*':
			c.part = 0
		case b == '\n' && c.kind == '$':
			c.part++
			c.rest = c.number + len("\r\n")
			c.matched, c.bucket = 0, -1
		default:
			return false
		}
		p = p[1:]
	}
	return true
}

// scanKey looks at the next bytes of a key.
func (c *routedConn) scanKey(p []byte) {
	tag := c.routes.tag
	for _, b := range p {
		switch {
		case c.matched == otherKey:
			return
		case c.matched < len(tag) && b == tag[c.matched]:
			c.matched++
		case c.matched == len(tag) && b >= '0' && b <= '9' && c.bucket < Buckets:
			c.bucket = max(c.bucket, 0)*10 + int(b-'0')
		case c.matched == len(tag) && b == '}' && c.bucket >= 0 && c.bucket < Buckets:
			c.routes.to(c, c.bucket)
			c.matched = otherKey
		default:
			c.matched = otherKey
		}
	}
}
