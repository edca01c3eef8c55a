package coherence

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxMessageBytes bounds a message on the wire. A longer one is malformed, so a Publisher does not send any.
const MaxMessageBytes = 1 << 20

// ErrMalformed is what a decoder returns (wrapped) for bytes that do not say what changed. Such a message is counted,
// set aside and skipped; it never stops a partition.
var ErrMalformed = errors.New("coherence: malformed message")

// EventCodec is how events look on the wire. Both functions are called concurrently. A function that panics, or that
// ends its goroutine, has failed for that message alone.
type EventCodec struct {
	// Encode is a record's value for an event. Defaults to EncodeJSON without extra fields.
	Encode func(Event) ([]byte, error)
	// Decode says what a record tells of: one event, several, or none for a record to be passed over. It must not
	// keep the record's bytes. An error means that the record is malformed: it is counted, and set aside by a worker.
	// Defaults to DecodeRecord.
	Decode func(Record) ([]Event, error)
}

// WithDefaults fills in what is nil.
func (c EventCodec) WithDefaults() EventCodec {
	if c.Encode == nil {
		c.Encode = func(e Event) ([]byte, error) { return EncodeJSON(e, nil) }
	}
	if c.Decode == nil {
		c.Decode = DecodeRecord
	}
	return c
}

// The JSON of an event:
//
//	{"namespace":"product","key":"42","version":7,"op":"updated","seq":981,"position":{"timeline":"5f3a","n":7741},
//	 "time":"2026-11-24T09:30:00.123Z"}
//
// A namespace or key that is not UTF-8 has no form as a JSON string. It goes as "namespace_base64" or "key_base64"
// instead, so that a reader that does not know these fields finds no key, and does not take another key for it.
type wireEvent struct {
	Namespace string            `json:"namespace,omitempty"`
	RawName   []byte            `json:"namespace_base64,omitempty"`
	Key       *string           `json:"key,omitempty"`
	RawKey    []byte            `json:"key_base64,omitempty"`
	Version   uint64            `json:"version,omitempty"`
	Op        Op                `json:"op,omitempty"`
	Seq       uint64            `json:"seq,omitempty"`
	Position  *wirePosition     `json:"position,omitempty"`
	Time      *time.Time        `json:"time,omitempty"`
	Fields    map[string]string `json:"fields,omitempty"`
}

type wirePosition struct {
	Timeline string `json:"timeline"` // hexadecimal: the number may be too large for other languages' JSON
	N        uint64 `json:"n"`
}

// EncodeJSON encodes an event, with extra string fields beside those of the format.
func EncodeJSON(e Event, extra map[string]string) ([]byte, error) {
	b, err := json.Marshal(wireOf(&e))
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

func wireOf(e *Event) wireEvent {
	w := wireEvent{Version: uint64(e.Version), Op: e.Op, Seq: e.Seq, Fields: e.Fields}
	if w.Namespace = e.Namespace; !utf8.ValidString(e.Namespace) {
		w.Namespace, w.RawName = "", []byte(e.Namespace)
	}
	if w.Key = &e.Key; !utf8.ValidString(e.Key) {
		w.Key, w.RawKey = nil, []byte(e.Key)
	}
	if t := e.Time.UTC(); !t.IsZero() && t.Year() > 0 && t.Year() < 10000 { // JSON has no others
		w.Time = &t
	}
	if at := e.Position; !at.IsZero() {
		w.Position = &wirePosition{strconv.FormatUint(at.Timeline, 16), at.N}
	}
	return w
}

// DecodeJSON is the inverse of EncodeJSON. It never panics.
//
// An event needs a namespace and a key, and is never refused for what it says besides: a field that is not known is
// ignored, and one that is known and makes no sense counts as absent. So an event whose version cannot be read is one
// without a version, which invalidates unconditionally. The key, the namespace and the version may each be a JSON
// string or a number. What cannot be understood is ErrMalformed with the reason.
func DecodeJSON(b []byte) (e Event, err error) {
	o, err := ParseObject(b)
	if err != nil {
		return e, err
	}
	e = Event{Version: Version(o.Uint("version")), Op: o.op(), Seq: o.Uint("seq"), Position: o.position("position"),
		Time: o.Time("time"), Fields: o.fields("fields")}
	var hasKey bool
	e.Namespace, _ = o.exact("namespace")
	e.Key, hasKey = o.exact("key")
	if e.Namespace == "" || !hasKey {
		return Event{}, fmt.Errorf("%w: no namespace or no key", ErrMalformed)
	}
	return e, nil
}

// exact is a string of any bytes.
func (o Object) exact(name string) (s string, ok bool) {
	if coded, ok := o.Text(name + "_base64"); ok {
		if b, err := base64.StdEncoding.DecodeString(coded); err == nil {
			return string(b), true
		}
	}
	return o.Text(name)
}

func (o Object) op() Op {
	s, _ := o.Text("op")
	return Op(s)
}

func (o Object) position(name string) (at Position) {
	in, err := ParseObject(o.raw(name))
	if err != nil {
		return at
	}
	s, _ := in.Text("timeline")
	if timeline, err := strconv.ParseUint(s, 16, 64); err == nil && timeline != 0 {
		at = Position{Timeline: timeline, N: in.Uint("n")}
	}
	return at
}

func (o Object) fields(name string) map[string]string {
	var m map[string]string
	if json.Unmarshal(o.raw(name), &m) != nil || len(m) == 0 {
		return nil
	}
	return m
}
