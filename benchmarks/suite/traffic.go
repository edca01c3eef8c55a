package suite

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"sync/atomic"
)

// meter counts what goes over connections, and of Redis's answers the pushes: messages, the keys in them, their bytes.
type trafficMeter struct{ in, out, messages, keys, pushed atomic.Int64 }

// redis is a dial function for rueidis.
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

// kafka is one for kafka-go.
func (m *trafficMeter) dialKafka(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &meteredConn{Conn: c, meter: m}, nil
}

// metered is a connection with its meter; frames is nil where nothing is told apart.
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

// frames takes Redis's side of a RESP3 connection apart, as it comes, as far as it takes to tell pushes from answers.
type pushParser struct {
	onPush func(keys, bytes int) // a push has come whole

	line      []byte // the beginning of a line that is not whole yet
	skip      int    // bytes still to come of a string
	remaining int    // values still to come of a frame
	isPush    bool   // the frame is a push
	keys      int    // the elements of the array in it
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

// head takes the line that begins a value, or is one.
func (f *pushParser) parseHeader(line []byte) {
	if f.remaining == 0 {
		f.remaining, f.isPush, f.keys, f.size = 1, line[0] == '>', 0, 0
	}
	f.size += len(line)
	n, _ := strconv.Atoi(string(bytes.TrimRight(line[1:], "\r\n")))
	switch line[0] {
	case '$', '=', '!':
		if n >= 0 {
			f.skip = n + 2 // its own end of line
			return
		}
	case '*', '~', '>':
		f.remaining += max(0, n)
		if f.isPush && line[0] == '*' {
			f.keys = n
		}
	case '%':
		f.remaining += 2 * n
	case '|': // attributes stand before a value, and are none
		f.remaining += 2 * n
		return
	}
	f.endValue()
}

// value counts one off.
func (f *pushParser) endValue() {
	if f.remaining--; f.remaining == 0 && f.isPush {
		f.onPush(f.keys, f.size)
	}
}
