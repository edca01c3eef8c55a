package l2

import (
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// routes knows on which connection the last command of each bucket was written, and notices what ends a bucket's
// session: its connection was lost, its server was flushed, or its next command goes to another connection. Other
// buckets are left alone, so a node that is gone costs only what it has.
//
// A client of a Cluster keeps connections to all nodes, and one of Sentinel dials the new primary before it stops
// asking the old one. So it is not the dial that counts:
//
//	load: GETs version 1 from node A, which tracks the key      A is demoted, and B promoted: the client knows both, and
//	                                                            dials nobody
//	relay: applies version 2 and watermark 7 to B, whose pushes of this key go to nobody
//	heartbeat: reads watermark 7 from B                         reader: its entry of version 1 is proved by it
//
// A bucket's session ends before its first command on the other connection is written. If its connection was lost, the
// session has ended already: nothing comes from there any more.
type routes struct {
	tag     []byte                       // what a key of ours begins with, up to its bucket's tag
	tracker Tracker                      // nil: of the commands connection, which has no sessions
	last    []atomic.Pointer[routedConn] // by bucket
	tags    map[int]int                  // the bucket of each tag
	dials   atomic.Uint64                // connections that were followed

	probing sync.Mutex          // held by the one Probe that tries the connections
	tap     atomic.Pointer[tap] // what it sees of them; nil: there is none
}

func newRoutes(keys *Keyspace, tracker Tracker) *routes {
	return &routes{tag: []byte(keys.Prefix() + ":{"), tracker: tracker, tags: keys.tags.buckets,
		last: make([]atomic.Pointer[routedConn], keys.Buckets())}
}

// follow notices what is written to a new connection of a node, and what becomes of it.
func follow(conn net.Conn, routes *routes, node *Node) *routedConn {
	c := &routedConn{Conn: conn, routes: routes, node: node, born: time.Now()}
	if routes != nil {
		routes.dials.Add(1)
	}
	node.add(c)
	return c
}

// to says that a command of the bucket is about to be written to a connection.
func (r *routes) to(c *routedConn, bucket int) {
	if r.last[bucket].Load() == c {
		return
	}
	was := r.last[bucket].Swap(c)
	if was == nil || was == c || was.over.Load() || r.tracker == nil || ablate.Out(ablate.DialIsSession) {
		return
	}
	r.tracker.SessionChanged(SetOf(bucket))
}

// ended ends the sessions of the buckets whose last commands went to a connection.
func (r *routes) ended(c *routedConn) {
	if r.tracker == nil {
		return
	}
	if of := r.of(c); !of.IsZero() {
		r.tracker.SessionChanged(of)
	}
}

// of are the buckets whose last commands went to a connection.
func (r *routes) of(c *routedConn) (set BucketSet) {
	for b := range r.last {
		if c != nil && r.last[b].Load() == c {
			set.Add(b)
		}
	}
	return set
}

// node is the node that a bucket's last command went to, nil if there was none.
func (r *routes) node(bucket int) *Node {
	if last := r.last[bucket].Load(); last != nil {
		return last.node
	}
	return nil
}

// together are those of some buckets whose last commands went to the same connection as the last one of a bucket.
func (r *routes) together(bucket int, of *BucketSet) (set BucketSet) {
	c := r.last[bucket].Load()
	if c == nil {
		return set
	}
	for b := range of.All() {
		if b < len(r.last) && r.last[b].Load() == c {
			set.Add(b)
		}
	}
	return set
}

// routedConn follows the commands that rueidis writes, wherever one write ends and the next begins, and looks at how
// their keys begin. It goes by the lengths that the protocol states: a name that a user has chosen may hold anything,
// what looks like another command too. Commands have their key, if any, as their first argument, and scripts as their
// third. One goroutine at a time writes to a connection.
//
// On the tracking connection it also looks for the push without keys, by which a server says that it was flushed: the
// client of Redis does not say which connection that came on.
type routedConn struct {
	net.Conn
	routes *routes // nil: nothing is followed
	node   *Node
	born   time.Time
	over   atomic.Bool // the connection is lost, and the sessions of its buckets have ended
	pushes pushFinder

	kind   byte // of the header that is being read: '*' of a command, '$' of a part of it
	number int  // its digits so far
	part   int  // of the command: 1 is its name, 2 its key, 4 the first key of a script
	rest   int  // bytes that are left of the part, the line break behind it included

	matched int // bytes of the tag that the key begins with; otherKey: it is none of ours, or has been seen
	tagged  int // the digits of the bucket's tag so far, -1: none
}

const otherKey = -1

// errNoCommand ends a connection on which the commands can no longer be followed: no bucket's session could be trusted.
var errNoCommand = errors.New("l2: what is written to Redis is no command of the protocol")

func (c *routedConn) Write(p []byte) (int, error) {
	if c.routes != nil && !c.scan(p) {
		return 0, errNoCommand
	}
	return c.Conn.Write(p)
}

func (c *routedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.routes == nil || c.routes.tracker == nil {
		return n, err
	}
	if tap := c.routes.tap.Load(); tap != nil {
		tap.read(c, p[:n])
	}
	if c.pushes.flushed(p[:n]) && !ablate.Out(ablate.NilIsSession) {
		c.routes.ended(c)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // after that one the connection could be used on
		c.lost()
	}
	return n, err
}

func (c *routedConn) Close() error {
	err := c.Conn.Close()
	c.lost()
	c.node.remove(c)
	return err
}

// lost ends the sessions of the connection's buckets, and says so only then: a command that goes elsewhere meanwhile
// must not come before the end of the session.
func (c *routedConn) lost() {
	if c.routes == nil || c.over.Load() {
		return
	}
	c.routes.ended(c)
	c.over.Store(true)
}

// scan reports whether what is written are commands.
func (c *routedConn) scan(p []byte) bool {
	for len(p) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(p))
			if c.part == 2 || c.part == 4 {
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
			c.matched, c.tagged = 0, -1
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
		case c.matched == len(tag) && b >= '0' && b <= '9' && c.tagged <= math.MaxInt32:
			c.tagged = max(c.tagged, 0)*10 + int(b-'0')
		case c.matched == len(tag) && b == '}':
			if bucket, ours := c.routes.tags[c.tagged]; ours {
				c.routes.to(c, bucket)
			}
			c.matched = otherKey
		default:
			c.matched = otherKey
		}
	}
}
