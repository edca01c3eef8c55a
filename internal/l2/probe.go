package l2

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
)

// ProbeTrials is how often a Probe tries the order of push and reply on each server.
const ProbeTrials = 5

// probeTTL is how long a probe's keys live if they are not deleted, in milliseconds.
const probeTTL = "5000"

// Server is what one server says of itself in its answer to HELLO, for which no user needs a right.
type Server struct {
	Addr    string
	Name    string // redis, valkey, dragonfly, ...
	Version string
	Mode    string // standalone, sentinel or cluster
	Role    string // master or replica
}

// Probe is what a look at the servers has found.
type Probe struct {
	Servers []Server // by address; without those that did not answer
	// Tried is on how many servers the order of push and reply was tried, and Untried on how many it could not be.
	Tried, Untried int
	// Disorder is why a push does not come before the reply that it precedes; "": on every server that was tried it
	// does. A bound by tracking stands on that.
	Disorder string
	// Denied are the commands that the user may not run, if Redis has refused one.
	Denied []string
	// Err is why servers are untried.
	Err error
	// Dials is L2.Dials when the trials began.
	Dials uint64
}

// Dials counts the dials of the tracking connection: a Probe of before says nothing about a server that was dialled
// since.
func (l *L2) Dials() uint64 {
	if l.routes.tracker == nil {
		return 0
	}
	return l.routes.dials.Load()
}

// Probe looks at what it talks to: what each server says of itself, whether scripts may run, and, if there is a
// Tracker, whether pushes come in order, by so many trials on each server. The error is ErrUnavailable.
func (l *L2) Probe(ctx context.Context, trials int) (*Probe, error) {
	c := l.clients.Load()
	if c == nil {
		return nil, ErrUnavailable
	}
	p := &Probe{Servers: l.hello(ctx, c)}
	l.tryCommands(ctx, c)
	if slices.ContainsFunc(l.Faults(), func(f *Fault) bool { return f.Code == "redis_permission" }) {
		p.Denied = Denied(ctx, c.commands, l.keys, l.use())
	}
	if c.tracking == nil {
		return p, nil
	}
	for _, s := range p.Servers {
		if s.Name == "dragonfly" {
			p.Disorder = fmt.Sprintf("Dragonfly (%s) does not promise it", s.Addr)
		}
	}
	l.tryOrder(ctx, c, trials, p)
	return p, nil
}

// hello asks every primary that a client knows what it is. Without arguments HELLO changes nothing.
func (l *L2) hello(ctx context.Context, c *clients) (servers []Server) {
	primaries := primariesOf(ctx, c)
	for addr, node := range c.commands.Nodes() {
		if primaries != nil && !primaries[addr] {
			continue // there may be no connection to a replica, and none is needed
		}
		answer, err := node.Do(ctx, node.B().Arbitrary("HELLO").Build()).AsMap()
		if err != nil {
			continue
		}
		text := func(name string) string {
			m := answer[name]
			s, _ := m.ToString()
			return s
		}
		s := Server{Addr: addr, Name: text("server"), Version: text("version"), Mode: text("mode"), Role: text("role")}
		if s.Role == "slave" {
			s.Role = "replica"
		}
		for field := range answer { // what imitates Redis says here what it is
			if name, ok := strings.CutSuffix(field, "_version"); ok {
				s.Name, s.Version = name, text(field)
			}
		}
		servers = append(servers, s)
	}
	slices.SortFunc(servers, func(a, b Server) int { return strings.Compare(a.Addr, b.Addr) })
	return servers
}

// primariesOf are the addresses of a Cluster's primaries, nil if it is none.
func primariesOf(ctx context.Context, c *clients) map[string]bool {
	if c.commands.Mode() != rueidis.ClientModeCluster {
		return nil
	}
	ranges, _ := c.commands.Do(ctx, c.commands.B().ClusterSlots().Build()).ToArray()
	primaries := make(map[string]bool)
	for i := range ranges {
		if r, err := ranges[i].ToArray(); err == nil && len(r) > 0 {
			if first, err := r[0].AsInt64(); err == nil {
				name, _ := serverOf(ranges[i:i+1], first)
				primaries[name] = true
			}
		}
	}
	return primaries
}

// tryCommands reads with GETEX, and runs a script that calls every command that scripts call. EVAL comes first: a
// server that has the script already would not show that EVAL is forbidden.
func (l *L2) tryCommands(ctx context.Context, c *clients) {
	k := l.keys.Key("nearcache.check", "1")
	_, _, _ = l.Get(ctx, k, ReadOptions{Watermark: true}) // the outcome is in Faults
	check := call{l.scripts.check, []string{k.Lease}, []string{millisOf(firstConnect)}}
	if _, err := (reply{l, check, c.commands.Do(ctx, check.eval(c.commands)), nil}).int(); FaultOf(err) == nil {
		_, _ = l.run(ctx, check).int()
	}
}

// tryOrder tries each server: T reads a key, which Redis tracks from then on, W writes it, and T reads it again. The
// reply that shows the new value must come after the push.
func (l *L2) tryOrder(ctx context.Context, c *clients, trials int, p *Probe) {
	servers, err := l.Servers(ctx)
	if err != nil {
		p.Untried, p.Err = 1, err
		return
	}
	l.routes.probing.Lock()
	defer l.routes.probing.Unlock()
	tap := &tap{streams: map[*routedConn]*stream{}}
	l.routes.tap.Store(tap)
	defer l.routes.tap.Store(nil)
	sets := make([][]*trial, len(servers))
	var first []rueidis.Completed
	for i, set := range servers {
		bucket := set.First()
		for range trials {
			sets[i] = append(sets[i], tap.trial(l.keys.probe(bucket)))
		}
		if trials > 0 {
			first = append(first, c.tracking.B().Get().Key(sets[i][0].key).Build())
		}
	}
	// The first reads dial. A connection that is dialled later loses what was pushed before.
	c.tracking.DoMulti(ctx, first...)
	p.Dials = l.Dials()

	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, set := range sets {
		wg.Go(func() {
			route := &l.routes.last[servers[i].First()]
			on := route.Load()
			late, err := tryServer(ctx, c, tap, set)
			if err == nil && (on == nil || route.Load() != on) { // what was pushed on the other one was not seen
				err = fmt.Errorf("%w: its connection was lost, or its slots moved", ErrUnavailable)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				p.Untried++
				p.Err = err
				return
			}
			p.Tried++
			if late > 0 {
				p.Disorder = fmt.Sprintf("it came after the reply %d times of %d", late, trials)
			}
		})
	}
	wg.Wait()
}

// tryServer returns how often the push came late. It has one key at a time tracked: the table may be small.
func tryServer(ctx context.Context, c *clients, tap *tap, set []*trial) (late int, err error) {
	read := func(t *trial) (string, error) {
		return c.tracking.Do(ctx, c.tracking.B().Get().Key(t.key).Build()).ToString()
	}
	for _, t := range set {
		if _, err := read(t); err != nil && !rueidis.IsRedisNil(err) {
			return 0, err
		}
		write := c.commands.B().Arbitrary("SET").Keys(t.key).Args(t.value, "PX", probeTTL).Build()
		if err := c.commands.Do(ctx, write).Error(); err != nil {
			return 0, err
		}
		got, err := read(t)
		// It also expires by itself; an error does not matter.
		_ = c.commands.Do(ctx, c.commands.B().Del().Key(t.key).Build()).Error()
		switch {
		case err != nil:
			return 0, err
		case got != t.value:
			return 0, fmt.Errorf("tier: the order of push and reply could not be tried: %s has another value", t.key)
		case !tap.inOrder(t):
			late++
		}
	}
	return late, nil
}

// trial is one key, which T has read, and the value that W writes. Both are random texts: on T's connection the key
// comes in its push alone, and the value in the reply alone.
type trial struct {
	key, value        string
	pushed, replied   int64 // where they came in the connection's stream
	sawPush, sawReply bool
}

// tap looks at what the tracking connections bring while a Probe tries them. The order is that of the bytes: in the
// process a push that comes right after a reply may be noticed before it.
type tap struct {
	mu      sync.Mutex
	trials  []*trial
	streams map[*routedConn]*stream
}

// stream is how much of a connection was seen, and the end of that: a text may come in two pieces.
type stream struct {
	seen int64
	end  []byte
}

// trial begins one.
func (t *tap) trial(key string) *trial {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := &trial{key: key, value: rand.Text()}
	t.trials = append(t.trials, of)
	return of
}

// inOrder reports whether the push came, and came first.
func (t *tap) inOrder(of *trial) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return of.sawPush && of.sawReply && of.pushed < of.replied
}

// read takes what a connection has brought.
func (t *tap) read(from *routedConn, p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.streams[from]
	if s == nil {
		s = &stream{}
		t.streams[from] = s
	}
	begins := s.seen - int64(len(s.end))
	s.seen += int64(len(p))
	all := append(s.end, p...)
	longest := 0
	for _, of := range t.trials {
		longest = max(longest, len(of.key), len(of.value))
		find(all, begins, of.key, &of.pushed, &of.sawPush)
		find(all, begins, of.value, &of.replied, &of.sawReply)
	}
	s.end = append([]byte(nil), all[max(0, len(all)-longest):]...)
}

// find notes where a text comes for the first time.
func find(in []byte, begins int64, text string, at *int64, saw *bool) {
	if *saw {
		return
	}
	if i := bytes.Index(in, []byte(text)); i >= 0 {
		*at, *saw = begins+int64(i), true
	}
}

// probe is the Redis key of a probe in a bucket. No two probes share one.
func (s *Keyspace) probe(bucket int) string {
	return s.buckets[bucket].probes + rand.Text()
}

// hiddenCluster is the error of a client that takes a node of a Cluster for a single server: it would meet MOVED for
// the keys of the other nodes.
func (l *L2) hiddenCluster(ctx context.Context, c *clients) error {
	if c.commands.Mode() == rueidis.ClientModeCluster {
		return nil
	}
	for _, s := range l.hello(ctx, c) {
		if s.Mode == "cluster" {
			return fmt.Errorf("tier: %w: %s is a node of a Cluster, and the client takes it for a single server; grant %s, "+
				"and leave ClientOption.ForceSingleClient unset", coherence.ErrMisconfigured, s.Addr, ClusterRights)
		}
	}
	return nil
}

// deniedBy names the commands that the user may not run, if that is the fault: Redis does not name those within a
// script.
func (l *L2) deniedBy(ctx context.Context, f *Fault) string {
	if f.Code != "redis_permission" {
		return ""
	}
	var denied []string
	if c := l.clients.Load(); c != nil {
		denied = Denied(ctx, c.commands, l.keys, l.use())
	} else {
		denied = deniedToConnect(f.Err.Error(), l.use())
	}
	if len(denied) == 0 {
		return ""
	}
	said := "; not allowed: " + strings.Join(denied, ", ")
	if slices.Contains(denied, "client|tracking") || slices.Contains(denied, "getex") {
		said += "; with Config.Tracking set to TrackingOff neither getex nor client|tracking is needed"
	}
	return said
}
