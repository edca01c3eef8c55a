package kafka

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

var errRecord = errors.New("kafka: a record does not fit its length")

// limited reads decompressed records, and ends after so many bytes.
type limited struct {
	r    *bufio.Reader
	left int64
}

// ReadByte implements io.ByteReader.
func (l *limited) ReadByte() (byte, error) {
	if l.left--; l.left < 0 {
		return 0, errBomb
	}
	return l.r.ReadByte()
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errBomb
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// record reads a record. One whose offset is before from is skipped over: only its offset is set.
func (l *limited) record(base, first, from int64) (*record, error) {
	size, err := binary.ReadVarint(l)
	if err != nil {
		return nil, eof(err)
	}
	in := &part{l: l, left: size}
	in.skip(1) // attributes
	rec := &record{time: time.UnixMilli(first + in.varint())}
	rec.offset = base + in.varint()
	if rec.offset >= from {
		rec.key, rec.value = in.field(), in.field()
		rec.headers = in.headers()
	}
	in.skip(in.left)
	if in.err != nil {
		return nil, eof(in.err)
	}
	return rec, nil
}

func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// part is what is left of a record. After the first error all that it returns is zero.
type part struct {
	l    *limited
	left int64
	err  error
}

// ReadByte implements io.ByteReader.
func (p *part) ReadByte() (byte, error) {
	if p.err == nil && p.left <= 0 {
		p.err = errRecord
	}
	if p.err != nil {
		return 0, p.err
	}
	p.left--
	b, err := p.l.ReadByte()
	p.err = err
	return b, err
}

func (p *part) varint() int64 {
	v, err := binary.ReadVarint(p)
	if err != nil && p.err == nil {
		p.err = err
	}
	if p.err != nil {
		return 0
	}
	return v
}

// claim takes n bytes of what is left.
func (p *part) claim(n int64) bool {
	if p.err == nil && (n < 0 || n > p.left) {
		p.err = errRecord
	}
	if p.err != nil {
		return false
	}
	p.left -= n
	return true
}

func (p *part) skip(n int64) {
	if p.claim(n) {
		_, p.err = io.CopyN(io.Discard, p.l, n)
	}
}

func (p *part) read(n int64) []byte {
	if !p.claim(n) {
		return nil
	}
	b := make([]byte, n)
	_, p.err = io.ReadFull(p.l, b)
	return b
}

// field reads a key or a value. Of one that is too long a part is kept, and the sum of the whole.
func (p *part) field() (f field) {
	n := p.varint()
	switch {
	case n < 0 || p.err != nil:
		return f
	case n <= maxField:
		f.size, f.data = n, p.read(n)
		return f
	}
	f.size, f.data = n, p.read(keptOfField)
	if rest := n - keptOfField; p.claim(rest) {
		h := sha256.New()
		h.Write(f.data)
		_, p.err = io.CopyN(h, p.l, rest)
		h.Sum(f.sum[:0])
	}
	return f
}

// headers reads the headers, and drops all of them if they are too many.
func (p *part) headers() (hs []kafkago.Header) {
	n := p.varint()
	if n < 0 || p.left > maxHeaders || p.err != nil {
		return nil
	}
	for ; n > 0 && p.err == nil; n-- {
		h := kafkago.Header{Key: string(p.read(p.varint()))}
		if size := p.varint(); size >= 0 {
			h.Value = p.read(size)
		}
		hs = append(hs, h)
	}
	return hs
}
