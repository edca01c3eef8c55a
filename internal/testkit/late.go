package testkit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"
)

// Late connects to a Redis whose pushes come after the next reply, as those of a server may that sends them from
// another thread. Once inOrder is set they come in order.
func Late(o rueidis.ClientOption, inOrder *atomic.Bool) rueidis.ClientOption {
	dial := o.DialCtxFn
	if dial == nil {
		dial = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", addr)
		}
	}
	o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, addr, d, cfg)
		if err != nil {
			return nil, err
		}
		return &lateConn{Conn: conn, r: bufio.NewReader(conn), inOrder: inOrder}, nil
	}
	return o
}

type lateConn struct {
	net.Conn
	r       *bufio.Reader
	inOrder *atomic.Bool
	held    bytes.Buffer // pushes
	out     bytes.Buffer // to be read
}

func (c *lateConn) Read(p []byte) (int, error) {
	for c.out.Len() == 0 {
		var frame bytes.Buffer
		if err := copyFrame(&frame, c.r); err != nil {
			return 0, err
		}
		push := bytes.HasPrefix(frame.Bytes(), []byte(">2\r\n$10\r\ninvalidate\r\n"))
		if push && !c.inOrder.Load() {
			c.held.Write(frame.Bytes())
			continue
		}
		c.out.Write(frame.Bytes())
		c.out.Write(c.held.Bytes())
		c.held.Reset()
	}
	return c.out.Read(p)
}

// copyFrame copies one reply or push of RESP3.
func copyFrame(to *bytes.Buffer, r *bufio.Reader) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	to.WriteString(line)
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:])) // of a line alone it may be none
	switch line[0] {
	case '$', '=', '!':
		if n >= 0 {
			_, err = io.CopyN(to, r, int64(n)+2)
		}
		return err
	case '%':
		n *= 2
	case '*', '~', '>':
	default:
		return nil
	}
	for range n {
		if err := copyFrame(to, r); err != nil {
			return err
		}
	}
	return nil
}
