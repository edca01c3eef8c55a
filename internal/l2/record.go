package l2

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// HeaderSize is the length of a record's header.
const HeaderSize = 68

// MaxRecordBytes bounds a record; a larger one is not offered to Redis.
const MaxRecordBytes = 64 << 20

// The layout of a record, big endian. The scripts in lua/ read and write it by these offsets.
//
//	 0  "NC"
//	 2  format, 1
//	 3  kind: 0 a value, 1 an absence
//	 4  schema
//	 8  incarnation of the bucket; written by the scripts, so not under the checksum
//	16  version
//	24  written at, Unix milliseconds
//	32  soft expiry, Unix milliseconds, 0: none
//	40  expires at, Unix milliseconds, 0: none
//	48  length of the body
//	52  CRC-32C of everything but the incarnation and itself
//	56  hash of the record's Redis key: a record that was renamed or copied is no record of the new name
//	64  shape of the value's type in the program that wrote it
//	68  body: number of tags (2 bytes); each a name (length as uvarint, bytes) and a version; then the payload
const (
	formatVersion     = 1
	incarnationOffset = 8
	maxTags           = math.MaxUint16
	maxTagName        = 1 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// What is wrong with bytes that are not a record. All of them are misses.
var (
	ErrCorrupt     = errors.New("tier: not a record")                 // foreign, truncated or damaged
	ErrNewerFormat = errors.New("tier: a record of a newer format")   // by a later release; must not be overwritten
	ErrWrongType   = errors.New("tier: not a string in Redis")        // another program put a list, a hash, ... there
	ErrTooLarge    = errors.New("tier: record over MaxRecordBytes")   // not offered to Redis
	ErrInvalid     = errors.New("tier: a record that cannot be kept") // too many tags, a TTL that is not positive
)

// Incarnation is drawn at random whenever a bucket has lost its watermark. A record of another incarnation is a miss.
// The zero Incarnation belongs to a bucket without a watermark.
type Incarnation [8]byte

// String is the incarnation in hexadecimal.
func (e Incarnation) String() string { return hex.EncodeToString(e[:]) }

// Tag is a name that a value depends on, with the version it had when the value was loaded.
type Tag struct {
	Name    string
	Version coherence.Version
}

// Record is what L2 holds of a key. The times are by the writer's wall clock: a backstop for what Redis expires, and no
// part of any promise. They have millisecond resolution.
type Record struct {
	Absent      bool
	Schema      uint32
	Shape       uint32 // of the value's type; 0: not known
	Incarnation Incarnation
	Version     coherence.Version
	KeyHash     uint64 // Key.Hash; L2 sets it when it writes
	WrittenAt   time.Time
	SoftExpiry  time.Time // zero: none
	ExpiresAt   time.Time // zero: none
	Tags        []Tag
	Payload     []byte
}

// AppendRecord appends the encoding of r to b.
func AppendRecord(b []byte, r Record) ([]byte, error) {
	if len(r.Tags) > maxTags {
		return nil, fmt.Errorf("%w: %d tags", ErrInvalid, len(r.Tags))
	}
	start := len(b)
	kind := byte(0)
	if r.Absent {
		kind = 1
	}
	b = append(b, 'N', 'C', formatVersion, kind)
	b = binary.BigEndian.AppendUint32(b, r.Schema)
	b = append(b, r.Incarnation[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Version))
	for _, t := range []time.Time{r.WrittenAt, r.SoftExpiry, r.ExpiresAt} {
		b = binary.BigEndian.AppendUint64(b, millis(t))
	}
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, r.KeyHash)
	b = binary.BigEndian.AppendUint32(b, r.Shape)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Tags)))
	for _, t := range r.Tags {
		if len(t.Name) > maxTagName {
			return nil, fmt.Errorf("%w: a tag of %d bytes", ErrInvalid, len(t.Name))
		}
		b = binary.AppendUvarint(b, uint64(len(t.Name)))
		b = append(b, t.Name...)
		b = binary.BigEndian.AppendUint64(b, uint64(t.Version))
	}
	b = append(b, r.Payload...)
	rec := b[start:]
	if len(rec) > MaxRecordBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(rec))
	}
	binary.BigEndian.PutUint32(rec[48:], uint32(len(rec)-HeaderSize))
	binary.BigEndian.PutUint32(rec[52:], checksum(rec))
	return b, nil
}

// DecodeRecord parses a record. Payload is a part of b, the tags are copies. It never panics and allocates no more than
// b's length warrants.
func DecodeRecord(b []byte) (r Record, err error) {
	switch {
	case len(b) < 4 || b[0] != 'N' || b[1] != 'C' || b[2] == 0:
		return r, fmt.Errorf("%w: foreign bytes", ErrCorrupt)
	case b[2] > formatVersion:
		return r, fmt.Errorf("%w: %d", ErrNewerFormat, b[2])
	case len(b) < HeaderSize+2 || len(b) > MaxRecordBytes ||
		uint64(binary.BigEndian.Uint32(b[48:])) != uint64(len(b)-HeaderSize):
		return r, fmt.Errorf("%w: %d bytes are not its length", ErrCorrupt, len(b))
	case b[3] > 1:
		return r, fmt.Errorf("%w: kind %d", ErrCorrupt, b[3])
	case binary.BigEndian.Uint32(b[52:]) != checksum(b):
		return r, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	r.Absent = b[3] == 1
	r.Schema = binary.BigEndian.Uint32(b[4:])
	copy(r.Incarnation[:], b[incarnationOffset:])
	r.Version = coherence.Version(binary.BigEndian.Uint64(b[16:]))
	r.WrittenAt, r.SoftExpiry, r.ExpiresAt = moment(b[24:]), moment(b[32:]), moment(b[40:])
	r.KeyHash, r.Shape = binary.BigEndian.Uint64(b[56:]), binary.BigEndian.Uint32(b[64:])
	n := int(binary.BigEndian.Uint16(b[HeaderSize:]))
	body := b[HeaderSize+2:]
	for range n {
		l, w := binary.Uvarint(body)
		if w <= 0 || l > maxTagName || uint64(len(body)-w) < l+8 {
			return Record{}, fmt.Errorf("%w: tags", ErrCorrupt)
		}
		body = body[w:]
		r.Tags = append(
			r.Tags,
			Tag{Name: string(body[:l]), Version: coherence.Version(binary.BigEndian.Uint64(body[l:]))},
		)
		body = body[l+8:]
	}
	r.Payload = body
	if r.Absent && len(body) > 0 {
		return Record{}, fmt.Errorf("%w: an absence with a payload", ErrCorrupt)
	}
	return r, nil
}

func checksum(b []byte) uint32 {
	c := crc32.Update(0, castagnoli, b[:incarnationOffset])
	c = crc32.Update(c, castagnoli, b[incarnationOffset+8:52])
	return crc32.Update(c, castagnoli, b[56:])
}

func millis(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(1, t.UnixMilli()))
}

func moment(b []byte) time.Time {
	ms := binary.BigEndian.Uint64(b)
	if ms == 0 || ms > math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// Watermark says that everything settled at Position has been applied to a bucket, in this Incarnation of it. The zero
// Watermark is a bucket without one.
type Watermark struct {
	Incarnation Incarnation
	Position    coherence.Position
}

// IsZero reports whether there is no watermark.
func (w Watermark) IsZero() bool { return w == Watermark{} }

// watermarkSize is the length of a watermark in Redis: incarnation, then the position's timeline, number and part, big
// endian.
const watermarkSize = 32

func (w Watermark) encode() string {
	b := append(make([]byte, 0, watermarkSize), w.Incarnation[:]...)
	b = binary.BigEndian.AppendUint64(b, w.Position.Timeline)
	b = binary.BigEndian.AppendUint64(b, w.Position.N)
	return string(binary.BigEndian.AppendUint64(b, w.Position.Part))
}

// decodeWatermark is the zero Watermark for bytes that are none.
func decodeWatermark(s string) (w Watermark) {
	if len(s) != watermarkSize {
		return w
	}
	copy(w.Incarnation[:], s)
	w.Position.Timeline = binary.BigEndian.Uint64([]byte(s[8:16]))
	w.Position.N = binary.BigEndian.Uint64([]byte(s[16:24]))
	w.Position.Part = binary.BigEndian.Uint64([]byte(s[24:32]))
	return w
}

// Change is a key's new version on its way to L2; version 0 is unconditional.
type Change struct {
	Key     Key
	Version coherence.Version
	// Unconfirmed says that there was a write of unknown outcome too: what the version leaves standing becomes
	// unconfirmed. Version 0 then drops nothing.
	Unconfirmed bool
}

// Certain reports whether the change, or a part of it, is known to have happened.
func (c Change) Certain() bool { return !c.Unconfirmed || c.Version != 0 }
