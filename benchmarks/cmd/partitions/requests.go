package main

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

// requests counts the connections to Kafka, and what is asked on them.
type requests struct {
	open              atomic.Int64
	all, fetches      atomic.Int64
	bytesOut, bytesIn atomic.Int64
}

// transport is the default of package kafka, counted.
func (r *requests) transport() *kafkago.Transport {
	return &kafkago.Transport{Dial: r.dial, DialTimeout: time.Second, MetadataTTL: 2 * time.Second,
		ClientID: "nearcache"}
}

func (r *requests) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	r.open.Add(1)
	return &counted{Conn: c, r: r}, nil
}

// counted is a connection. It reads the length and the kind of each request that is written: four bytes, and two.
type counted struct {
	net.Conn
	r      *requests
	closed sync.Once

	header []byte
	rest   int // of the present request
}

func (c *counted) Close() error {
	c.closed.Do(func() { c.r.open.Add(-1) })
	return c.Conn.Close()
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.r.bytesIn.Add(int64(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.r.bytesOut.Add(int64(n))
	c.take(b[:n])
	return n, err
}

func (c *counted) take(b []byte) {
	const lengthAndKind = 6
	const fetch = 1
	for len(b) > 0 {
		if c.rest > 0 {
			n := min(c.rest, len(b))
			c.rest -= n
			b = b[n:]
			continue
		}
		n := min(lengthAndKind-len(c.header), len(b))
		c.header = append(c.header, b[:n]...)
		if b = b[n:]; len(c.header) < lengthAndKind {
			return
		}
		c.rest = int(binary.BigEndian.Uint32(c.header)) - 2
		c.r.all.Add(1)
		if binary.BigEndian.Uint16(c.header[4:]) == fetch {
			c.r.fetches.Add(1)
		}
		c.header = c.header[:0]
	}
}
