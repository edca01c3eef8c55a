package nearcache

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// RedisServer is what one server of Redis says of itself.
type RedisServer struct {
	Addr    string
	Name    string // "redis", "valkey", or what imitates them
	Version string
	Mode    string // "standalone", "sentinel" or "cluster"
	Role    string // "master" or "replica"
}

const (
	probeTimeout = time.Second
	probeAgain   = time.Second // after one that could not try every server
)

// redisProbe is what the client knows of the servers that it talks to. It looks when Redis first answers, and again
// after each dial: behind it may be another server.
type redisProbe struct {
	mu      sync.Mutex
	running bool
	done    bool   // every server was tried since the last dial
	dials   uint64 // of the tracking connection, by the time of the last look
	next    int64  // no earlier than this
	servers []RedisServer
	ordered bool // at least one server was tried, and none showed disorder
	problem string
}

// begin makes the caller the one that looks, if a look is due.
func (p *redisProbe) begin(dials uint64, now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running || now < p.next || p.done && p.dials == dials {
		return false
	}
	p.running = true
	return true
}

// order is why tracking proves no bound, "" if it may.
func (p *redisProbe) order() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ordered {
		return ""
	}
	if p.problem == "" {
		return "Redis has not been asked yet"
	}
	return p.problem
}

func (p *redisProbe) seen() []RedisServer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.servers)
}

// probeRedis looks at the servers, after begin has said so. Until one has shown that its pushes come before the replies
// that they precede, tracking proves no bound; a server that cannot be tried now changes nothing about that.
func (c *Client) probeRedis() {
	p := &c.redis
	ctx, stop := context.WithTimeout(c.life, probeTimeout)
	defer stop()
	found, err := c.l2.Probe(ctx, l2.ProbeTrials)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = false
	if found != nil {
		p.dials = found.Dials
	}
	switch {
	case err != nil:
		p.done, p.next = false, c.now()+int64(probeAgain)
		if !p.ordered {
			p.problem = err.Error()
		}
		return
	case found.Disorder != "":
		p.ordered, p.problem = false, found.Disorder
		c.fence.DoubtPushes()
	case found.Tried > 0:
		p.ordered, p.problem = true, ""
		c.fence.BelievePushes()
	case !p.ordered:
		p.problem = "the order of push and reply could not be tried"
		if found.Err != nil {
			p.problem = found.Err.Error()
		}
	}
	if p.done = found.Untried == 0; !p.done {
		p.next = c.now() + int64(probeAgain)
	}
	c.met(found)
}

// met keeps and logs what the servers are, if that is new. The caller holds c.redis.mu.
func (c *Client) met(found *l2.Probe) {
	servers := make([]RedisServer, len(found.Servers))
	for i, s := range found.Servers {
		servers[i] = RedisServer(s)
	}
	if len(servers) == 0 || slices.Equal(servers, c.redis.servers) {
		return
	}
	for _, s := range servers {
		if !slices.Contains(c.redis.servers, s) {
			c.log.Debug("nearcache: a Redis server", "addr", s.Addr, "name", s.Name, "version", s.Version, "mode", s.Mode,
				"role", s.Role)
		}
	}
	c.redis.servers = servers
}
