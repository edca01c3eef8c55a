package coherence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// MaxMessageBytes bounds a message on the wire; a longer one is malformed.
const MaxMessageBytes = 1 << 20

// ErrMalformed is what a decoder returns (wrapped) for bytes that are no message. The message is counted, set aside and
// skipped; it never stops a partition.
var ErrMalformed = errors.New("coherence: malformed message")

// Codec is how messages look on the wire. A nil function is the default: EncodeJSON without extra fields, DecodeJSON.
// Both are called concurrently.
type EventCodec struct {
	Encode func(Message) ([]byte, error)
	Decode func([]byte) (Message, error)
}

// WithDefaults fills in what is nil.
func (c EventCodec) WithDefaults() EventCodec {
	if c.Encode == nil {
		c.Encode = func(m Message) ([]byte, error) { return EncodeJSON(m, nil) }
	}
	if c.Decode == nil {
		c.Decode = DecodeJSON
	}
	return c
}

// The JSON of a message. An event:
//
//	{"namespace":"product","key":"42","version":7,"op":"updated","seq":981,"position":{"timeline":"5f3a","n":7741},
//	 "time":"2026-11-24T09:30:00.123Z"}
//
// and a barrier:
//
//	{"barrier":true,"seq":981,"partitions":4,"position":{"timeline":"5f3a","n":7741}}
//
// Only namespace and key are required. Fields that are not known are ignored.
type wireMessage struct {
	Barrier   bool              `json:"barrier,omitempty"`
	Namespace string            `json:"namespace,omitempty"`
	Key       *string           `json:"key,omitempty"`
	Version   uint64            `json:"version,omitempty"`
	Op        Op                `json:"op,omitempty"`
	Seq       uint64            `json:"seq,omitempty"`
	Parts     int               `json:"partitions,omitempty"`
	Position  *wirePosition     `json:"position,omitempty"`
	Time      *time.Time        `json:"time,omitempty"`
	Fields    map[string]string `json:"fields,omitempty"`
}

type wirePosition struct {
	Timeline string `json:"timeline"` // hexadecimal: the number may be too large for other languages' JSON
	N        uint64 `json:"n"`
}

// EncodeJSON encodes a message, with extra string fields beside those of the format.
func EncodeJSON(m Message, extra map[string]string) ([]byte, error) {
	w := wireMessage{Barrier: m.Barrier != nil}
	at := m.Event.Position
	if m.Barrier != nil {
		w.Seq, w.Parts, at = m.Barrier.Seq, m.Barrier.Partitions, m.Barrier.Position
	} else {
		e := &m.Event
		w.Namespace, w.Key, w.Version, w.Op, w.Seq, w.Fields = e.Namespace, &e.Key, uint64(e.Version), e.Op, e.Seq, e.Fields
		if !e.Time.IsZero() {
			t := e.Time.UTC()
			w.Time = &t
		}
	}
	if !at.IsZero() {
		w.Position = &wirePosition{strconv.FormatUint(at.Timeline, 16), at.N}
	}
	b, err := json.Marshal(w)
	if err != nil || len(extra) == 0 {
		return b, err
	}
	x, err := json.Marshal(extra)
	if err != nil {
		return nil, err
	}
	if len(b) == len("{}") {
		return x, nil
	}
	return append(append(x[:len(x)-1], ','), b[1:]...), nil
}

// DecodeJSON is the inverse of EncodeJSON. It never panics; what it refuses is ErrMalformed with the reason.
func DecodeJSON(b []byte) (m Message, err error) {
	var w wireMessage
	if err := UnmarshalObject(b, &w); err != nil {
		return m, err
	}
	var at Position
	if w.Position != nil {
		if at.Timeline, err = strconv.ParseUint(w.Position.Timeline, 16, 64); err != nil || at.Timeline == 0 {
			return m, fmt.Errorf("%w: position timeline %q", ErrMalformed, w.Position.Timeline)
		}
		at.N = w.Position.N
	}
	if w.Barrier {
		if at.IsZero() {
			return m, fmt.Errorf("%w: a barrier without a position", ErrMalformed)
		}
		return Message{Barrier: &Barrier{Position: at, Seq: w.Seq, Partitions: w.Parts}}, nil
	}
	if w.Namespace == "" || w.Key == nil {
		return m, fmt.Errorf("%w: no namespace or no key", ErrMalformed)
	}
	if w.Seq > 0 && w.Version == 0 {
		return m, fmt.Errorf("%w: a sequence number without a version", ErrMalformed)
	}
	m.Event = Event{Namespace: w.Namespace, Key: *w.Key, Version: Version(w.Version), Op: w.Op, Seq: w.Seq, Position: at, Fields: w.Fields}
	if w.Time != nil {
		m.Event.Time = *w.Time
	}
	return m, nil
}

// UnmarshalObject parses one JSON object and nothing after it into v, a pointer to a struct. For decoders of the
// caller's own: the error is ErrMalformed.
func UnmarshalObject[T any](b []byte, v *T) error {
	if len(b) > MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if t := bytes.TrimLeft(b, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return fmt.Errorf("%w: not a JSON object", ErrMalformed)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the JSON object", ErrMalformed)
	}
	return nil
}
