package suite

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"sync/atomic"
)

// trafficMeter counts bytes on connections, and Redis's pushes: messages, the keys and the bytes in them.
type trafficMeter struct{ in, out, messages, keys, pushed atomic.Int64 }

// dialRedis is a dial function for rueidis.
func (m *trafficMeter) dialRedis(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &meteredConn{Conn: c, meter: m, parser: &pushParser{onPush: func(keys, bytes int) {
		m.messages.Add(1)
		m.keys.Add(int64(keys))
		m.pushed.Add(int64(bytes))
	}}}, nil
}

// dialKafka is a dial function for kafka-go.
func (m *trafficMeter) dialKafka(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &meteredConn{Conn: c, meter: m}, nil
}

// meteredConn is a connection with its meter. parser is nil if pushes are not counted.
type meteredConn struct {
	net.Conn
	meter  *trafficMeter
	parser *pushParser
}

func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.in.Add(int64(n))
	if c.parser != nil {
		c.parser.feed(b[:n])
	}
	return n, err
}

func (c *meteredConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.meter.out.Add(int64(n))
	return n, err
}

// pushParser finds the pushes in what Redis sends on a RESP3 connection.
type pushParser struct {
	onPush func(keys, bytes int) // called when a push is complete

	line      []byte // the beginning of an incomplete line
	skip      int    // the bytes of a string that are still to come
	remaining int    // the values of a message that are still to come
	isPush    bool   // the message is a push
	keys      int    // the elements of the array in the message
	size      int
}

func (f *pushParser) feed(b []byte) {
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(b))
			f.skip, f.size, b = f.skip-n, f.size+n, b[n:]
			if f.skip == 0 {
				f.endValue()
			}
			continue
		}
		end := bytes.IndexByte(b, '\n') + 1
		if end == 0 {
			f.line = append(f.line, b...)
			return
		}
		line := b[:end]
		if len(f.line) > 0 {
			f.line = append(f.line, line...)
			line = f.line
		}
		f.parseHeader(line)
		f.line, b = f.line[:0], b[end:]
	}
}

// parseHeader takes a line that is a value, or begins one.
func (f *pushParser) parseHeader(line []byte) {
	if f.remaining == 0 {
		f.remaining, f.isPush, f.keys, f.size = 1, line[0] == '>', 0, 0
	}
	f.size += len(line)
	n, _ := strconv.Atoi(string(bytes.TrimRight(line[1:], "\r\n")))
	switch line[0] {
	case '$', '=', '!':
		if n >= 0 {
			f.skip = n + 2 // and its end of line
			return
		}
	case '*', '~', '>':
		f.remaining += max(0, n)
		if f.isPush && line[0] == '*' {
			f.keys = n
		}
	case '%':
		f.remaining += 2 * n
	case '|': // attributes precede a value
		f.remaining += 2 * n
		return
	}
	f.endValue()
}

// endValue counts a complete value.
func (f *pushParser) endValue() {
	if f.remaining--; f.remaining == 0 && f.isPush {
		f.onPush(f.keys, f.size)
	}
}
