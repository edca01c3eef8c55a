package kafka

import (
	"encoding/binary"
	"errors"
	"io"
)

// errShort is an answer of a broker that ends too early.
var errShort = errors.New("kafka: the answer is cut short")

// maxAnswer bounds an answer of a broker. A fetch asks for much less, but a broker sends the first batch whole, and
// its size is the broker's to decide.
const maxAnswer = 128 << 20

// request builds a request of Kafka's protocol. In flexible versions lengths are varints, and structs end with tags.
type request struct {
	b        []byte
	flexible bool
}

func newRequest(api, version int16, flexible bool) *request {
	q := &request{b: make([]byte, 4, 256)}
	q.int16(api)
	q.int16(version)
	q.int32(correlation)
	q.int16(int16(len(clientID)))
	q.b = append(q.b, clientID...)
	q.flexible = flexible
	q.tags()
	return q
}

// correlation may be the same for all requests: kafka-go sends one at a time on a connection.
const correlation = 1

const clientID = "nearcache"

func (q *request) int8(v int8)   { q.b = append(q.b, byte(v)) }
func (q *request) int16(v int16) { q.b = binary.BigEndian.AppendUint16(q.b, uint16(v)) }
func (q *request) int32(v int32) { q.b = binary.BigEndian.AppendUint32(q.b, uint32(v)) }
func (q *request) int64(v int64) { q.b = binary.BigEndian.AppendUint64(q.b, uint64(v)) }

func (q *request) string(s string) {
	if q.flexible {
		q.b = binary.AppendUvarint(q.b, uint64(len(s)+1))
	} else {
		q.int16(int16(len(s)))
	}
	q.b = append(q.b, s...)
}

func (q *request) array(n int) {
	if q.flexible {
		q.b = binary.AppendUvarint(q.b, uint64(n+1))
	} else {
		q.int32(int32(n))
	}
}

func (q *request) tags() {
	if q.flexible {
		q.b = append(q.b, 0)
	}
}

// exchange sends the request and reads the answer whole.
func (q *request) exchange(rw io.ReadWriter) (*answer, error) {
	binary.BigEndian.PutUint32(q.b, uint32(len(q.b)-4))
	if _, err := rw.Write(q.b); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(rw, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxAnswer {
		return nil, errShort
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(rw, b); err != nil {
		return nil, err
	}
	a := &answer{b: b, flexible: q.flexible}
	if a.int32() != correlation {
		return nil, errors.New("kafka: an answer to another request")
	}
	a.tags()
	return a, nil
}

// answer reads a broker's answer. After the first error all that it returns is zero.
type answer struct {
	b        []byte
	flexible bool
	err      error
}

func (a *answer) take(n int) []byte {
	if a.err != nil || n < 0 || n > len(a.b) {
		a.err, a.b = errShort, nil
		return make([]byte, min(max(n, 0), 16))
	}
	b := a.b[:n]
	a.b = a.b[n:]
	return b
}

func (a *answer) int16() int16 { return int16(binary.BigEndian.Uint16(a.take(2))) }
func (a *answer) int32() int32 { return int32(binary.BigEndian.Uint32(a.take(4))) }
func (a *answer) int64() int64 { return int64(binary.BigEndian.Uint64(a.take(8))) }

func (a *answer) id() (id topicID) {
	copy(id[:], a.take(len(id)))
	return id
}

func (a *answer) uvarint() int {
	v, n := binary.Uvarint(a.b)
	if n <= 0 || v > maxAnswer {
		a.err, a.b = errShort, nil
		return 0
	}
	a.take(n)
	return int(v)
}

// length is that of an array or of bytes; null has none. Each element takes a byte at least.
func (a *answer) length() int {
	var n int
	if a.flexible {
		n = a.uvarint() - 1
	} else {
		n = int(a.int32())
	}
	if n > len(a.b) {
		a.err, a.b = errShort, nil
	}
	return max(n, 0)
}

func (a *answer) skipString() { _ = a.string() }

func (a *answer) string() string {
	n := 0
	if a.flexible {
		n = a.uvarint() - 1
	} else {
		n = int(a.int16())
	}
	return string(a.takeSome(max(n, 0)))
}

// takeSome is take for a length that the answer gives.
func (a *answer) takeSome(n int) []byte {
	if n > len(a.b) {
		a.err, a.b = errShort, nil
		return nil
	}
	return a.take(n)
}

func (a *answer) bytes() []byte { return a.takeSome(a.length()) }

func (a *answer) tags() {
	if !a.flexible {
		return
	}
	for n := a.uvarint(); n > 0 && a.err == nil; n-- {
		a.uvarint()
		a.takeSome(a.uvarint())
	}
}
