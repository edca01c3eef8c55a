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
type meter struct{ in, out, messages, keys, pushed atomic.Int64 }

// redis is a dial function for rueidis.
func (m *meter) redis(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &metered{Conn: c, m: m, frames: &frames{pushed: func(keys, bytes int) {
		m.messages.Add(1)
		m.keys.Add(int64(keys))
		m.pushed.Add(int64(bytes))
	}}}, nil
}

// kafka is one for kafka-go.
func (m *meter) kafka(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &metered{Conn: c, m: m}, nil
}

// metered is a connection with its meter; frames is nil where nothing is told apart.
type metered struct {
	net.Conn
	m      *meter
	frames *frames
}

func (c *metered) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.m.in.Add(int64(n))
	if c.frames != nil {
		c.frames.feed(b[:n])
	}
	return n, err
}

func (c *metered) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.m.out.Add(int64(n))
	return n, err
}

// frames takes Redis's side of a RESP3 connection apart, as it comes, as far as it takes to tell pushes from answers.
type frames struct {
	pushed func(keys, bytes int) // a push has come whole

	line []byte // the beginning of a line that is not whole yet
	skip int    // bytes still to come of a string
	left int    // values still to come of a frame
	push bool   // the frame is a push
	keys int    // the elements of the array in it
	size int
}

func (f *frames) feed(b []byte) {
	for len(b) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(b))
			f.skip, f.size, b = f.skip-n, f.size+n, b[n:]
			if f.skip == 0 {
				f.value()
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
		f.head(line)
		f.line, b = f.line[:0], b[end:]
	}
}

// head takes the line that begins a value, or is one.
func (f *frames) head(line []byte) {
	if f.left == 0 {
		f.left, f.push, f.keys, f.size = 1, line[0] == '>', 0, 0
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
		f.left += max(0, n)
		if f.push && line[0] == '*' {
			f.keys = n
		}
	case '%':
		f.left += 2 * n
	case '|': // attributes stand before a value, and are none
		f.left += 2 * n
		return
	}
	f.value()
}

// value counts one off.
func (f *frames) value() {
	if f.left--; f.left == 0 && f.push {
		f.pushed(f.keys, f.size)
	}
}
