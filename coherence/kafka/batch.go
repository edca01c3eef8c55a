package kafka

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"github.com/nearcache/nearcache-go/coherence"
)

// What is kept of a record in memory, however large it is.
const (
	maxField    = coherence.MaxMessageBytes // a key or a value beyond it is cut
	keptOfField = 64 << 10                  // to this
	maxInflated = 256 << 20                 // of one batch; the rest is given up
	maxInBatch  = 1 << 20                   // records of one batch; the rest is given up
	maxHeaders  = 64 << 10                  // all headers of a record; beyond it they are dropped
)

// errBomb is a batch that inflates beyond maxInflated or maxInBatch.
var errBomb = fmt.Errorf("kafka: a batch of more than %d MiB, or %d records, once it is decompressed",
	maxInflated>>20, maxInBatch)

// field is a key or a value. One that is too long is cut, and says so.
type field struct {
	data []byte // nil: null
	size int64  // of the whole
	sum  [sha256.Size]byte
}

func (f *field) cut() bool { return f.size > int64(len(f.data)) }

// record is a record of a partition.
type record struct {
	offset     int64
	epoch      int32 // of the leader that appended it
	time       time.Time
	key, value field
	headers    []kafkago.Header
	unread     error // it stands for a batch that could not be read
}

// public is the record as a codec and a Log's reader see it.
func (r *record) public(topic string, part int) coherence.Record {
	out := coherence.Record{Topic: topic, Partition: part, Offset: r.offset, Time: r.time, Key: r.key.data,
		Value: r.value.data}
	for _, h := range r.headers {
		out.Headers = append(out.Headers, coherence.Header(h))
	}
	return out
}

// reading goes through the batches of an answer. Whatever a batch holds, it takes bounded memory.
type reading struct {
	next    int64 // the offset after the last record, batch or control record that was read
	aborted []abortedTxn
	dropped map[int64]bool // producers whose records are those of an aborted transaction
	// record takes each record in order.
	record func(*record) error
	// lost says that a batch could not be read, and that its records up to next are given up.
	lost func(from, next int64, err error) error
}

const batchHeader = 61

// read goes through all batches of data. A batch that is cut off at the end is left for the next answer.
func (r *reading) read(data []byte) error {
	for len(data) >= batchHeader {
		size := int64(int32(binary.BigEndian.Uint32(data[8:]))) + 12
		if size > int64(len(data)) {
			return nil
		}
		var err error
		if size < batchHeader {
			return errShort
		}
		if err = r.batch(data[:size]); err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}

// endOf is the offset after the last whole batch of an answer that begins at an offset, as the headers say. An answer
// without a batch ends where it begins.
func endOf(data []byte, next int64) int64 {
	for len(data) >= batchHeader {
		size := int64(int32(binary.BigEndian.Uint32(data[8:]))) + 12
		if size > int64(len(data)) || size < batchHeader || data[16] != 2 {
			break
		}
		base := int64(binary.BigEndian.Uint64(data))
		next = max(next, base+int64(int32(binary.BigEndian.Uint32(data[23:])))+1)
		data = data[size:]
	}
	return next
}

// batch reads one batch: its header says where it ends, whatever is left in it.
func (r *reading) batch(b []byte) error {
	base := int64(binary.BigEndian.Uint64(b))
	last := base + int64(int32(binary.BigEndian.Uint32(b[23:])))
	attributes := binary.BigEndian.Uint16(b[21:])
	producer := int64(binary.BigEndian.Uint64(b[43:]))
	switch {
	case b[16] != 2: // a format from before Kafka 0.11
		return r.giveUp(max(base+1, r.next), fmt.Errorf("kafka: a batch of the old format %d", b[16]))
	case crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(b[17:]):
		return r.giveUp(r.next+1, errors.New("kafka: a batch does not fit its checksum"))
	case last < r.next:
		return nil
	}
	const transactional, control = 1 << 4, 1 << 5
	r.abort(last)
	if attributes&control != 0 {
		delete(r.dropped, producer)
		r.next = last + 1
		return nil
	}
	if attributes&transactional == 0 || !r.dropped[producer] {
		if err := r.records(b, base, int(attributes&7)); err != nil {
			return err
		}
	}
	r.next = max(r.next, last+1)
	return nil
}

// abort notes which transactions that begin up to an offset were aborted.
func (r *reading) abort(upto int64) {
	rest := r.aborted[:0]
	for _, t := range r.aborted {
		if t.first > upto {
			rest = append(rest, t)
			continue
		}
		if r.dropped == nil {
			r.dropped = make(map[int64]bool)
		}
		r.dropped[t.producer] = true
	}
	r.aborted = rest
}

func (r *reading) giveUp(next int64, err error) error {
	from := r.next
	r.next = next
	return r.lost(from, next, err)
}

func (r *reading) records(b []byte, base int64, compression int) error {
	first := int64(binary.BigEndian.Uint64(b[27:]))
	count := int32(binary.BigEndian.Uint32(b[57:]))
	epoch := int32(binary.BigEndian.Uint32(b[12:]))
	last := base + int64(int32(binary.BigEndian.Uint32(b[23:])))
	in, closeIn, err := inflate(b[batchHeader:], compression)
	if err != nil {
		return r.giveUp(last+1, err)
	}
	defer closeIn()
	src := &limited{r: bufio.NewReaderSize(in, 32<<10), left: maxInflated}
	for n := range count {
		if n == maxInBatch {
			return r.giveUp(last+1, errBomb)
		}
		rec, err := src.record(base, first, r.next)
		if err != nil {
			if src.left <= 0 {
				err = errBomb
			}
			return r.giveUp(last+1, err)
		}
		if rec.offset < r.next { // a batch is sent whole, from its beginning
			continue
		}
		r.next, rec.epoch = rec.offset+1, epoch
		if err := r.record(rec); err != nil {
			return err
		}
	}
	return nil
}

// inflate decompresses as it is read: neither the output nor what a header claims of it decides how much memory that
// takes.
func inflate(b []byte, compression int) (io.Reader, func(), error) {
	none := func() {}
	switch compression {
	case 0:
		return bytes.NewReader(b), none, nil
	case 1:
		r, err := gzip.NewReader(bytes.NewReader(b))
		return r, none, err
	case 2:
		return &snappyReader{b: b}, none, nil
	case 3:
		r := compress.Lz4.Codec().NewReader(bytes.NewReader(b))
		return r, func() { _ = r.Close() }, nil
	case 4:
		r, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(32<<20))
		if err != nil {
			return nil, none, err
		}
		return r, r.Close, nil
	}
	return nil, none, fmt.Errorf("kafka: compression %d is not known", compression)
}

// snappyReader reads snappy blocks: one, or many in the frames of the Java library.
type snappyReader struct {
	b      []byte
	framed bool
	begun  bool
	out    []byte
}

var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func (s *snappyReader) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if err := s.block(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *snappyReader) block() (err error) {
	if !s.begun {
		s.begun, s.framed = true, bytes.HasPrefix(s.b, xerial) && len(s.b) >= 16
		if s.framed {
			s.b = s.b[16:]
		}
	}
	if len(s.b) == 0 {
		return io.EOF
	}
	block := s.b
	if s.framed {
		if len(s.b) < 4 || int64(binary.BigEndian.Uint32(s.b)) > int64(len(s.b)-4) {
			return io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(s.b)
		block, s.b = s.b[4:4+n], s.b[4+n:]
	} else {
		s.b = nil
	}
	// Snappy makes 64 bytes of 3 at best, so a block that claims more is none.
	if n, err := snappy.DecodedLen(block); err != nil || n > 32*len(block) {
		return errors.New("kafka: a block of snappy claims to be too long")
	}
	s.out, err = snappy.Decode(nil, block)
	return err
}
