package nearcachetest

import (
	"bufio"
	"bytes"
	"reflect"

	"github.com/alicebob/miniredis/v2/server"
)

// proxy stands in for a connection while a command runs, and takes its reply down.
type proxy struct {
	*server.Peer
	w *bufio.Writer
	b bytes.Buffer
}

func newProxy(p *server.Peer) *proxy {
	q := &proxy{}
	q.w = bufio.NewWriter(&q.b)
	q.Peer = server.NewPeer(q.w)
	q.Ctx, q.Resp3, q.ClientName = p.Ctx, p.Resp3, p.ClientName
	return q
}

// passOn gives the connection the reply, in one piece, and what the command has set.
func (q *proxy) passOn(p *server.Peer) {
	p.Ctx, p.ClientName = q.Ctx, q.ClientName
	if p.Resp3 != q.Resp3 { // what publishes to a subscriber reads it meanwhile, and HELLO alone changes it
		p.Resp3 = q.Resp3
	}
	p.WriteRaw(q.b.String())
	if q.Closed() {
		p.Close()
	}
}

// through lets miniredis run a command on a proxy and returns the reply.
func (t *tracking) through(q *proxy, cmd string, args []string) string {
	t.inner.Store(q.Peer, true)
	defer t.inner.Delete(q.Peer)
	t.srv.Dispatch(q.Peer, append([]string{cmd}, args...))
	_ = q.w.Flush()
	return q.b.String()
}

// dispatch lets miniredis run a command and passes the reply on.
func (t *tracking) dispatch(p *server.Peer, cmd string, args []string) (reply string) {
	q := newProxy(p)
	reply = t.through(q, cmd, args)
	q.passOn(p)
	return reply
}

// ask runs a command within a peer's context, a script's for one, past the hook, and keeps the reply from the peer.
func (t *tracking) ask(p *server.Peer, cmd string, args ...string) string {
	q := newProxy(p)
	q.Resp3 = false
	return t.through(q, cmd, args)
}

func (t *tracking) exists(p *server.Peer, key string) bool {
	return t.ask(p, "EXISTS", key) == ":1\r\n"
}

// stateOf asks for a key's state, or only whether it exists.
func (t *tracking) stateOf(p *server.Peer, key string, whole bool) state {
	s := state{exists: t.exists(p, key)}
	if !s.exists || !whole {
		return s
	}
	s.value = t.ask(p, "PTTL", key)
	switch t.ask(p, "TYPE", key) {
	case "+string\r\n":
		s.value += t.ask(p, "GET", key)
	case "+list\r\n":
		s.value += t.ask(p, "LRANGE", key, "0", "-1")
	case "+set\r\n":
		s.value += t.ask(p, "SCARD", key)
	case "+zset\r\n":
		s.value += t.ask(p, "ZRANGE", key, "0", "-1", "WITHSCORES")
	}
	return s
}

// nested reports whether a peer is a script's. miniredis keeps that in an unexported field; a test of this package
// fails if it moves.
func nested(p *server.Peer) bool {
	v := reflect.ValueOf(p.Ctx)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return false
	}
	f := v.Elem().FieldByName("nested")
	return f.IsValid() && f.Kind() == reflect.Bool && f.Bool()
}
