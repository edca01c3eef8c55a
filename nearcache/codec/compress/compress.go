// Package compress wraps a nearcache.Codec so that large values are compressed in L2.
package compress

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/nearcache/nearcache-go/nearcache"
)

// Algorithm is how values are compressed.
type Algorithm uint8

// The algorithms. Each decodes what the other has encoded, so that they can be changed during a roll-out.
const (
	Zstd Algorithm = iota // smaller
	S2                    // several times as fast
)

// Options configures a Codec. The zero value is useful.
type Options struct {
	// Algorithm is how values are compressed. Defaults to Zstd.
	Algorithm Algorithm
	// Above is the size in bytes of an encoding from which on it is compressed. Defaults to 1 KiB.
	Above int
	// MaxDecoded bounds what a value may decode to, in bytes: a few bytes can claim to be gigabytes. A larger value is not
	// compressed, so that it can be read back. Defaults to 64 MiB.
	MaxDecoded int
}

// The first byte of a value says what follows. They are part of the format of L2.
const (
	plain  = 0
	zstded = 1
	s2ed   = 2
)

// maxPooled is the largest buffer that is kept for the next value.
const maxPooled = 1 << 20

// Codec compresses what another Codec encodes.
type Codec[V any] struct {
	inner   nearcache.Codec[V]
	opt     Options
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	buffers sync.Pool // of *[]byte
}

// New wraps a Codec; nil is nearcache.JSON. The error is a misconfiguration.
func New[V any](inner nearcache.Codec[V], o Options) (*Codec[V], error) {
	if inner == nil {
		inner = nearcache.JSON[V]{}
	}
	if o.Above == 0 {
		o.Above = 1 << 10
	}
	if o.MaxDecoded == 0 {
		o.MaxDecoded = 64 << 20
	}
	switch {
	case o.Algorithm > S2:
		return nil, fmt.Errorf("compress: Options.Algorithm is %d: Zstd or S2", o.Algorithm)
	case o.Above < 0:
		return nil, fmt.Errorf("compress: Options.Above is negative: %d", o.Above)
	case o.MaxDecoded < o.Above:
		return nil, fmt.Errorf("compress: Options.MaxDecoded is %d and Above %d: nothing is compressed", o.MaxDecoded,
			o.Above)
	}
	c := &Codec[V]{inner: inner, opt: o, buffers: sync.Pool{New: func() any { return new([]byte) }}}
	var err error
	if c.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false)); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if c.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderMaxMemory(uint64(o.MaxDecoded))); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return c, nil
}

// Unwrap is the Codec whose encodings are compressed.
func (c *Codec[V]) Unwrap() nearcache.Codec[V] { return c.inner }

// Append appends v's encoding, compressed if that makes it smaller.
func (c *Codec[V]) Append(b []byte, v V) ([]byte, error) {
	buf := c.buffers.Get().(*[]byte)
	defer c.keep(buf)
	raw, err := c.inner.Append((*buf)[:0], v)
	if err != nil {
		return nil, err
	}
	*buf = raw
	start := len(b)
	if len(raw) >= c.opt.Above && len(raw) <= c.opt.MaxDecoded {
		if c.opt.Algorithm == S2 {
			b = append(b, s2ed)
			b = append(b, s2.Encode(nil, raw)...)
		} else {
			b = c.encoder.EncodeAll(raw, append(b, zstded))
		}
		if len(b)-start <= len(raw) {
			return b, nil
		}
	}
	return append(append(b[:start], plain), raw...), nil
}

var (
	errEmpty = errors.New("compress: nothing there")
	errBomb  = errors.New("compress: it decodes to more than Options.MaxDecoded")
)

// Decode decodes what any Codec of this package has encoded from the same inner Codec's encodings. Anything else is an
// error, and so is what decodes to more than MaxDecoded, before that much is allocated.
func (c *Codec[V]) Decode(b []byte) (v V, err error) {
	if len(b) == 0 {
		return v, errEmpty
	}
	buf := c.buffers.Get().(*[]byte)
	defer c.keep(buf)
	switch kind, rest := b[0], b[1:]; kind {
	case plain:
		return c.inner.Decode(rest)
	case zstded:
		raw, err := c.decoder.DecodeAll(rest, (*buf)[:0])
		if err != nil || len(raw) > c.opt.MaxDecoded {
			return v, fmt.Errorf("compress: zstd: %w", errors.Join(err, c.tooMuch(len(raw))))
		}
		*buf = raw
	case s2ed:
		n, err := s2.DecodedLen(rest)
		if err == nil {
			err = c.tooMuch(n)
		}
		if err != nil {
			return v, fmt.Errorf("compress: s2: %w", err)
		}
		raw, err := s2.Decode((*buf)[:cap(*buf)], rest)
		if err != nil {
			return v, fmt.Errorf("compress: s2: %w", err)
		}
		*buf = raw
	default:
		return v, fmt.Errorf("compress: a value of kind %d", kind)
	}
	return c.inner.Decode(*buf)
}

func (c *Codec[V]) tooMuch(n int) error {
	if n > c.opt.MaxDecoded {
		return errBomb
	}
	return nil
}

// keep returns a buffer for the next value. No Codec keeps what it decodes from.
func (c *Codec[V]) keep(buf *[]byte) {
	if cap(*buf) <= maxPooled {
		c.buffers.Put(buf)
	}
}
