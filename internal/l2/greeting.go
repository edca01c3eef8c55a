package l2

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/redis/rueidis"
)

// This file lets the client talk to proxies that know little of the protocol. Some close a connection on which they see
// a command that they do not know, and HELLO and CLIENT are such commands. RESP2 needs neither: it is what every server
// speaks from the start. But rueidis greets each server with HELLO 2.

const hello2 = "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n"

// plain has the connections of RESP2 greet in commands of Redis 2.8. It is for single servers, real or not: a sentinel
// does not know EXISTS, and a node of a Cluster does not answer for every key.
func plain(o *rueidis.ClientOption, keys *Keyspace) {
	if o.ClientSetInfo == nil {
		o.ClientSetInfo = rueidis.DisableClientSetInfo
	}
	dial := o.DialCtxFn
	if dial == nil {
		dial = dialPlain
	}
	// The client asks for no right to PING.
	key := keys.nothing(RoundBucket)
	instead := fmt.Appendf(nil, "*2\r\n$6\r\nEXISTS\r\n$%d\r\n%s\r\n", len(key), key)
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, addr, d, cfg)
		if err != nil {
			return nil, err
		}
		return &greeter{conn, instead}, nil
	}
}

// greeter sends another command in place of HELLO 2, whose answer rueidis does not need. All of the greeting comes in
// the first write.
type greeter struct {
	net.Conn
	instead []byte // nil: the greeting is over
}

func (g *greeter) Write(p []byte) (int, error) {
	instead := g.instead
	if g.instead = nil; instead == nil || !bytes.Contains(p, []byte(hello2)) {
		return g.Conn.Write(p)
	}
	if _, err := g.Conn.Write(bytes.Replace(p, []byte(hello2), instead, 1)); err != nil {
		return 0, err
	}
	return len(p), nil
}
