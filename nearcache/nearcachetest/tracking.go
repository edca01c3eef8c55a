package nearcachetest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// tracking adds CLIENT TRACKING to miniredis through its pre-command hook. The hook runs the command itself, by
// dispatching it once more, and then knows what was read and what was changed. One command runs at a time, as in Redis;
// that keeps a push out of the middle of another reply, and in its place among them.
type tracking struct {
	m *miniredis.Miniredis

	mu      sync.Mutex // held for the whole of a top-level command
	srv     *server.Server
	caller  *server.Peer
	queue   []change // keys changed by the command so far, and who had read them then
	flushed bool     // FLUSHALL: everything changed
	table   map[string]*tracked
	clients map[*server.Peer]*client
	lastID  int
	max     int
	err     string            // what every command answers; "" for its own reply
	errs    map[string]string // what one command answers, also when a script calls it
	replid  string            // the server's replication id

	now  time.Time     // up to when TTLs have run
	cost time.Duration // what moving them cost last

	inner sync.Map // peers whose commands the hook lets pass: probes, and whatever it dispatches itself
}

// client is a connection that has sent a command.
type client struct {
	id    int
	db    int
	track bool
}

// tracked is a key that somebody has read. Redis's table knows names alone, and so one name in two databases is one
// key.
type tracked struct {
	readers map[*server.Peer]struct{}
	present bool // it was there when it was last read
	db      int  // where that was
}

// change is a changed key on its way to its readers.
type change struct {
	key     string
	readers map[*server.Peer]struct{}
}

func newTracking(m *miniredis.Miniredis) *tracking {
	t := &tracking{m: m, table: make(map[string]*tracked), clients: make(map[*server.Peer]*client), max: 1_000_000,
		now: time.Now()}
	t.newReplicationID()
	return t
}

// serve makes srv, which has no connections yet, the one that runs the commands.
func (t *tracking) serve(srv *server.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.srv = srv
	srv.SetPreHook(t.hook)
}

// hook runs every command, also those that scripts call; true means that it is done.
func (t *tracking) hook(p *server.Peer, cmd string, args ...string) bool {
	if _, ok := t.inner.Load(p); ok {
		return false
	}
	if nested(p) { // called by a script, whose caller holds the lock
		if cmd == "INFO" && len(args) == 1 && t.errs[cmd] == "" && strings.EqualFold(args[0], "replication") {
			p.WriteBulk(t.replication())
			return true
		}
		if message := t.errs[cmd]; message != "" {
			p.WriteError(message)
			return true
		}
		t.run(p, cmd, args)
		return true
	}
	if cmd == "SUBSCRIBE" || cmd == "PSUBSCRIBE" {
		return false // miniredis writes to this very peer later
	}
	if e := effects[cmd]; e.blocks != nil && e.blocks(args) {
		t.blocking(p, cmd, args)
		return true
	}
	t.mu.Lock()
	t.advanceIfCheap(time.Now())
	t.caller = p
	t.command(p, cmd, args)
	t.caller = nil
	t.unlockAndFlush(p)
	return true
}

// command runs a top-level command.
func (t *tracking) command(p *server.Peer, cmd string, args []string) {
	c := t.meet(p)
	switch {
	case t.err != "":
		p.WriteError(t.err)
	case t.errs[cmd] != "":
		p.WriteError(t.errs[cmd])
	case cmd == "CLIENT" && len(args) > 0:
		t.client(p, c, cmd, args)
	case cmd == "INFO" && len(args) == 1 && strings.EqualFold(args[0], "replication"):
		p.WriteBulk(t.replication())
	case cmd == "DEBUG" && len(args) == 1 && strings.EqualFold(args[0], "CHANGE-REPL-ID"):
		t.newReplicationID()
		p.WriteOK()
	case cmd == "CLUSTER":
		p.WriteError("ERR This instance has cluster support disabled")
	case cmd == "MULTI" || cmd == "EXEC":
		p.WriteError("ERR " + cmd + " is not supported by this in-process Redis")
	case cmd == "HELLO" && len(args) == 0: // says what the server is, and changes nothing
		proto := "2"
		if p.Resp3 {
			proto = "3"
		}
		t.run(p, cmd, []string{proto})
	case cmd == "SELECT" && len(args) == 1:
		if db, err := strconv.Atoi(args[0]); t.run(p, cmd, args) == "+OK\r\n" && err == nil {
			c.db = db
		}
	default:
		t.run(p, cmd, args)
	}
}

// replication is that section of INFO: the server is a primary without replicas.
func (t *tracking) replication() string {
	return "# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_replid:" + t.replid + "\r\n"
}

// newReplicationID begins a new history.
func (t *tracking) newReplicationID() { t.replid = strings.ToLower(rand.Text() + rand.Text())[:40] }

// meet notes a connection, until it ends.
func (t *tracking) meet(p *server.Peer) *client {
	c := t.clients[p]
	if c == nil {
		t.lastID++
		c = &client{id: t.lastID}
		t.clients[p] = c
		p.OnDisconnect(func() { t.disconnected(p) })
	}
	return c
}

func (t *tracking) client(p *server.Peer, c *client, cmd string, args []string) {
	switch strings.ToUpper(args[0]) {
	case "TRACKING":
		switch {
		case len(args) == 2 && strings.EqualFold(args[1], "off"):
			t.forget(p)
			p.WriteOK()
		case len(args) != 2 || !strings.EqualFold(args[1], "on"):
			p.WriteError("ERR this in-process Redis has only the default mode of CLIENT TRACKING")
		case !p.Resp3:
			p.WriteError("ERR tracking needs RESP3 here")
		default:
			c.track = true
			p.WriteOK()
		}
	case "SETINFO", "NO-EVICT", "NO-TOUCH":
		p.WriteOK()
	case "ID":
		p.WriteInt(c.id)
	default:
		t.dispatch(p, cmd, args)
	}
}

// run runs a command, notes what it read and changed, and returns its reply.
func (t *tracking) run(p *server.Peer, cmd string, args []string) (reply string) {
	e := t.effectOf(cmd)
	writes := e.writes(args)
	before := make([]state, len(writes))
	for i, k := range writes {
		before[i] = t.stateOf(p, k, e.states)
	}
	reply = t.dispatch(p, cmd, args)
	if cmd == "FLUSHALL" || cmd == "FLUSHDB" {
		t.flushed, t.queue = true, nil
	}
	if strings.HasPrefix(reply, "-") {
		return reply
	}
	for i, k := range writes {
		if e.changed(&outcome{args: args, reply: reply, before: before[i], after: t.stateOf(p, k, e.states)}) {
			t.changed(k)
		}
	}
	t.track(p, e.reads(args))
	return reply
}

// blocking runs a command that waits for others, so without the lock. What it has changed is pushed once it is done:
// who reads in between is told for nothing.
func (t *tracking) blocking(p *server.Peer, cmd string, args []string) {
	t.mu.Lock()
	t.meet(p)
	refused := t.err
	t.mu.Unlock()
	if refused != "" {
		p.WriteError(refused)
		return
	}
	q := newProxy(p)
	reply := t.through(q, cmd, args)
	t.mu.Lock()
	q.passOn(p)
	if e := t.effectOf(cmd); !strings.HasPrefix(reply, "-") && !empty(reply) {
		for _, k := range e.writes(args) {
			t.changed(k)
		}
	}
	t.caller = p
	t.track(p, t.effectOf(cmd).reads(args))
	t.caller = nil
	t.unlockAndFlush(p)
}

// changed queues a key for those who have read it by now; they are told once.
func (t *tracking) changed(key string) {
	if k, ok := t.table[key]; ok {
		t.queue = append(t.queue, change{key, k.readers})
		delete(t.table, key)
	}
}

// track remembers that the caller has read keys, in p's context. A table that is full forgets other keys, and says so
// to their readers.
func (t *tracking) track(p *server.Peer, keys []string) {
	c := t.clients[t.caller]
	if c == nil || !c.track {
		return
	}
	for _, key := range keys {
		if t.table[key] == nil {
			t.table[key] = &tracked{readers: make(map[*server.Peer]struct{})}
		}
		k := t.table[key]
		k.readers[t.caller] = struct{}{}
		k.present, k.db = t.exists(p, key), c.db
	}
	t.bound()
}

func (t *tracking) bound() {
	for k := range t.table {
		if t.max == 0 || len(t.table) <= t.max {
			return
		}
		t.changed(k)
	}
}

// unlockAndFlush writes what has changed to those it concerns, behind the command's own reply, ends the command, and
// sends all of it but the caller's, which goes with its reply.
func (t *tracking) unlockAndFlush(caller *server.Peer) {
	targets := t.push()
	t.mu.Unlock()
	for _, p := range targets {
		if p != caller {
			p.Flush()
		}
	}
}

// push writes to the connections' buffers and returns whose.
func (t *tracking) push() (targets []*server.Peer) {
	if t.flushed {
		t.flushed, t.queue = false, nil
		clear(t.table)
		for p, c := range t.clients {
			if c.track {
				p.Block(func(w *server.Writer) {
					w.WritePushLen(2)
					w.WriteBulk("invalidate")
					w.WriteNull()
				})
				targets = append(targets, p)
			}
		}
		return targets
	}
	for _, ch := range t.queue {
		for p := range ch.readers {
			p.Block(func(w *server.Writer) {
				w.WritePushLen(2)
				w.WriteBulk("invalidate")
				w.WriteLen(1)
				w.WriteBulk(ch.key)
			})
			if !slices.Contains(targets, p) {
				targets = append(targets, p)
			}
		}
	}
	t.queue = nil
	return targets
}

// advanceIfCheap advances the clock unless too little time has passed: advance goes through all keys, and should take
// at most a twentieth of the time.
func (t *tracking) advanceIfCheap(now time.Time) {
	if now.Sub(t.now) >= 20*t.cost {
		t.advance(now)
	}
}

// advance moves the clock of all TTLs to now, and queues the tracked keys that expire by that.
func (t *tracking) advance(now time.Time) {
	passed := now.Sub(t.now)
	if passed <= 0 {
		return
	}
	t.now = now
	t.elapse(passed)
	t.cost = time.Since(now)
}

func (t *tracking) elapse(d time.Duration) {
	t.m.FastForward(d)
	for key, k := range t.table {
		if k.present && !t.m.DB(k.db).Exists(key) {
			t.changed(key)
		}
	}
}

// locked runs f as a command that nobody has sent, and pushes what it changes.
func (t *tracking) locked(f func()) {
	t.mu.Lock()
	f()
	t.unlockAndFlush(nil)
}

// foreign runs a command as a client of its own.
func (t *tracking) foreign(cmd string, args []string) string {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	p := server.NewPeer(w)
	t.hook(p, strings.ToUpper(cmd), args...)
	_ = w.Flush()
	t.disconnected(p)
	return b.String()
}

func (t *tracking) disconnected(p *server.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(p)
	delete(t.clients, p)
}

// forget drops what a client tracks. The caller holds the lock.
func (t *tracking) forget(p *server.Peer) {
	c := t.clients[p]
	if c == nil || !c.track {
		return
	}
	c.track = false
	for key, k := range t.table {
		delete(k.readers, p)
		if len(k.readers) == 0 {
			delete(t.table, key)
		}
	}
}

func (t *tracking) setMax(n int) { t.locked(func() { t.max = n; t.bound() }) }

func (t *tracking) setError(message string) { t.locked(func() { t.err = message }) }

func (t *tracking) setCommandError(cmd, message string) {
	t.locked(func() {
		if t.errs == nil {
			t.errs = make(map[string]string)
		}
		t.errs[strings.ToUpper(cmd)] = message
	})
}

func (t *tracking) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.table)
}
