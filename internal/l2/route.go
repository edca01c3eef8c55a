package l2

import (
	"bytes"
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
	tag     []byte // what precedes a bucket's number in a key of ours, the line before it included
	tracker Tracker
	mu      sync.Mutex
	begun   atomic.Uint64 // dials whose session may have begun; one at a time
	done    atomic.Uint64 // those whose session has begun
	last    [Buckets]atomic.Pointer[route]
}

// route is where a bucket's last command went, and begun by then. Whoever sent it knew of no session of a later dial.
type route struct {
	conn  *routedConn
	begun uint64
}

func newRoutes(prefix string, tracker Tracker) *routes {
	return &routes{tag: []byte("\n" + prefix + ":{"), tracker: tracker}
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
	return &routedConn{Conn: conn, routes: r, bucket: -1}
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

// routedConn looks for the keys in what rueidis writes, wherever one write ends and the next begins. One goroutine at a
// time writes to a connection.
type routedConn struct {
	net.Conn
	routes  *routes
	matched int // bytes of the tag that have been seen
	bucket  int // the digits after it so far, -1: none
}

func (c *routedConn) Write(p []byte) (int, error) {
	c.scan(p)
	return c.Conn.Write(p)
}

func (c *routedConn) scan(p []byte) {
	tag := c.routes.tag
	for len(p) > 0 {
		b := p[0]
		switch {
		case c.matched == len(tag) && b >= '0' && b <= '9' && c.bucket < Buckets:
			c.bucket = max(c.bucket, 0)*10 + int(b-'0')
		case c.matched == len(tag) && b == '}' && c.bucket >= 0 && c.bucket < Buckets:
			c.routes.to(c, c.bucket)
			c.matched, c.bucket = 0, -1
		case c.matched < len(tag) && b == tag[c.matched]:
			c.matched++
		default:
			c.matched, c.bucket = 0, -1
			i := bytes.IndexByte(p, tag[0]) // the tag's only line break
			if i < 0 {
				return
			}
			c.matched, p = 1, p[i:]
		}
		p = p[1:]
	}
}
