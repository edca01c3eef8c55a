package nearcachetest

import (
	"bufio"
	"bytes"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// tracking adds CLIENT TRACKING to miniredis through its pre-command hook. The hook runs the command itself, by
// dispatching it once more, and then knows what was read and what was changed. One command runs at a time, as in Redis;
// that keeps a push out of the middle of another reply, and in its place among them.
type tracking struct {
	m *miniredis.Miniredis

	mu      sync.Mutex // held for the whole of a top-level command
	caller  *server.Peer
	queue   []change // keys changed by the command so far, and who had read them then
	flushed bool     // FLUSHALL: everything changed

	table   map[string]*tracked
	clients map[*server.Peer]bool // those that have tracking on
	known   map[*server.Peer]bool // those whose end we hear of
	max     int
	err     string

	inner sync.Map // peers whose commands the hook lets pass: probes, and whatever it dispatches itself
}

// tracked is a key that somebody has read.
type tracked struct {
	readers map[*server.Peer]struct{}
	present bool // it was there when it was last read
}

// change is a changed key on its way to its readers.
type change struct {
	key     string
	readers map[*server.Peer]struct{}
}

func newTracking(m *miniredis.Miniredis) *tracking {
	return &tracking{m: m, table: make(map[string]*tracked), clients: make(map[*server.Peer]bool),
		known: make(map[*server.Peer]bool)}
}

// hook runs every command, also those that scripts call; true means that it is done.
func (t *tracking) hook(p *server.Peer, cmd string, args ...string) bool {
	if _, ok := t.inner.Load(p); ok {
		return false
	}
	if nested(p) { // called by a script, whose caller holds the lock
		t.run(p, cmd, args)
		return true
	}
	switch cmd {
	case "BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "XREAD", "XREADGROUP", "SUBSCRIBE", "PSUBSCRIBE", "WAIT":
		return false // would hold up everybody
	}
	t.mu.Lock()
	t.caller = p
	t.command(p, cmd, args)
	targets := t.push()
	t.caller = nil
	t.mu.Unlock()
	for _, peer := range targets {
		if peer != p { // the caller's is flushed after its reply
			peer.Flush()
		}
	}
	return true
}

// nested reports whether a peer is a script's. miniredis keeps that in an unexported field; a test of this package fails
// if it moves.
func nested(p *server.Peer) bool {
	v := reflect.ValueOf(p.Ctx)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	f := v.Elem().FieldByName("nested")
	return f.IsValid() && f.Kind() == reflect.Bool && f.Bool()
}

// command runs a top-level command.
func (t *tracking) command(p *server.Peer, cmd string, args []string) {
	if !t.known[p] {
		t.known[p] = true
		p.OnDisconnect(func() { t.disconnected(p) })
	}
	switch {
	case t.err != "":
		p.WriteError(t.err)
	case cmd == "CLIENT" && len(args) > 0:
		t.client(p, cmd, args)
	case cmd == "CLUSTER":
		p.WriteError("ERR This instance has cluster support disabled")
	case cmd == "MULTI" || cmd == "EXEC":
		p.WriteError("ERR " + cmd + " is not supported by this in-process Redis")
	default:
		t.run(p, cmd, args)
	}
}

func (t *tracking) client(p *server.Peer, cmd string, args []string) {
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
			t.clients[p] = true
			p.WriteOK()
		}
	case "SETINFO", "NO-EVICT", "NO-TOUCH":
		p.WriteOK()
	case "ID":
		p.WriteInt(1)
	default:
		t.dispatch(p, cmd, args)
	}
}

// dispatch lets miniredis run a command, on a peer that takes the reply down, and passes the reply on.
func (t *tracking) dispatch(p *server.Peer, cmd string, args []string) (reply string) {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	q := server.NewPeer(w)
	q.Ctx, q.Resp3, q.ClientName = p.Ctx, p.Resp3, p.ClientName
	t.inner.Store(q, true)
	defer t.inner.Delete(q)
	t.m.Server().Dispatch(q, append([]string{cmd}, args...))
	_ = w.Flush()
	p.Ctx, p.Resp3, p.ClientName = q.Ctx, q.Resp3, q.ClientName
	p.WriteRaw(b.String())
	if q.Closed() {
		p.Close()
	}
	return b.String()
}

// run runs a command and notes what it read and changed.
func (t *tracking) run(p *server.Peer, cmd string, args []string) {
	if cmd == "EVAL" || cmd == "EVALSHA" {
		// What it calls comes through the hook; only p's own commands must keep passing by.
		t.dispatch(p, cmd, args)
		return
	}
	keys := keysOf(cmd, args)
	reads := t.m.IsReadOnlyCommand(cmd) || cmd == "GETEX"
	if cmd == "GETEX" && len(args) > 1 {
		reads = false
	}
	if reads || len(keys) == 0 && cmd != "FLUSHALL" && cmd != "FLUSHDB" {
		t.dispatch(p, cmd, args)
		if cmd != "GETEX" && t.clients[t.caller] {
			for _, k := range keys {
				t.track(t.caller, k, t.exists(p, k))
			}
		}
		return
	}
	before := make([]bool, len(keys))
	for i, k := range keys {
		before[i] = t.exists(p, k)
	}
	reply := t.dispatch(p, cmd, args)
	if cmd == "FLUSHALL" || cmd == "FLUSHDB" {
		t.flushed, t.queue = true, nil
		return
	}
	if failed(cmd, reply) {
		return
	}
	for i, k := range keys {
		if before[i] || t.exists(p, k) {
			t.changed(k)
		}
	}
}

// failed tells by a write's reply that it changed nothing: an error, nothing found, none changed.
func failed(cmd, reply string) bool {
	switch {
	case strings.HasPrefix(reply, "-"), reply == "_\r\n", strings.HasPrefix(reply, "$-1"):
		return true
	}
	return reply == ":0\r\n" && cmd != "HSET" && cmd != "ZADD" && cmd != "SETRANGE"
}

// changed queues a key for those who have read it by now; they are told once.
func (t *tracking) changed(key string) {
	if k, ok := t.table[key]; ok {
		t.queue = append(t.queue, change{key, k.readers})
		delete(t.table, key)
	}
}

// exists asks within the script's or the client's own context, past the hook.
func (t *tracking) exists(p *server.Peer, key string) bool {
	return t.quietly(p.Ctx, "EXISTS", key) == ":1\r\n"
}

func (t *tracking) quietly(ctx any, args ...string) string {
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	p := server.NewPeer(w)
	p.Ctx = ctx
	t.inner.Store(p, true)
	defer t.inner.Delete(p)
	t.m.Server().Dispatch(p, args)
	_ = w.Flush()
	return b.String()
}

// keysOf are the keys that a command names.
func keysOf(cmd string, args []string) []string {
	if len(args) == 0 {
		return nil
	}
	switch cmd {
	case "PING", "ECHO", "AUTH", "HELLO", "SELECT", "QUIT", "INFO", "TIME", "DBSIZE", "KEYS", "SCAN", "SCRIPT", "PUBLISH",
		"COMMAND", "FLUSHALL", "FLUSHDB", "EVAL_RO", "EVALSHA_RO", "WATCH", "UNWATCH", "DISCARD", "SWAPDB", "MEMORY":
		return nil
	case "DEL", "UNLINK", "EXISTS", "MGET", "TOUCH":
		return args
	case "MSET", "MSETNX":
		var keys []string
		for i := 0; i < len(args); i += 2 {
			keys = append(keys, args[i])
		}
		return keys
	case "RENAME", "RENAMENX", "COPY", "SMOVE", "RPOPLPUSH", "LMOVE":
		return args[:min(2, len(args))]
	}
	return args[:1]
}

// track remembers that a client has read a key. A table that is full forgets another key, and says so to its readers.
func (t *tracking) track(p *server.Peer, key string, present bool) {
	if t.table[key] == nil {
		t.table[key] = &tracked{readers: make(map[*server.Peer]struct{})}
	}
	t.table[key].readers[p] = struct{}{}
	t.table[key].present = present
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

// push writes what the command has brought about to those it concerns, behind the command's own reply. It returns whose
// connections must be flushed.
func (t *tracking) push() (targets []*server.Peer) {
	if t.flushed {
		t.flushed, t.queue = false, nil
		clear(t.table)
		for p := range t.clients {
			p.Block(func(w *server.Writer) {
				w.WritePushLen(2)
				w.WriteBulk("invalidate")
				w.WriteNull()
			})
			targets = append(targets, p)
		}
		return targets
	}
	return t.sendQueued(targets)
}

func (t *tracking) sendQueued(targets []*server.Peer) []*server.Peer {
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

// sweep pushes the tracked keys that have expired.
func (t *tracking) sweep() {
	t.mu.Lock()
	for key, k := range t.table {
		if k.present && !t.m.Exists(key) {
			t.changed(key)
		}
	}
	targets := t.sendQueued(nil)
	t.mu.Unlock()
	for _, p := range targets {
		p.Flush()
	}
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
	delete(t.known, p)
}

// forget drops what a client tracks. The caller holds the lock.
func (t *tracking) forget(p *server.Peer) {
	delete(t.clients, p)
	for key, k := range t.table {
		delete(k.readers, p)
		if len(k.readers) == 0 {
			delete(t.table, key)
		}
	}
}

func (t *tracking) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.table)
	clear(t.clients)
	clear(t.known)
}

func (t *tracking) setMax(n int) {
	t.mu.Lock()
	t.max = n
	t.bound()
	targets := t.sendQueued(nil)
	t.mu.Unlock()
	for _, p := range targets {
		p.Flush()
	}
}

func (t *tracking) setError(message string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = message
}

func (t *tracking) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.table)
}
