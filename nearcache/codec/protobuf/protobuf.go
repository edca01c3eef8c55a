// Package protobuf is a nearcache.Codec for protocol buffers.
package protobuf

import (
	"errors"

	"google.golang.org/protobuf/proto"
)

// Codec encodes messages of type M, a pointer to a generated struct. Equal messages have equal encodings within one
// build, so that Options.CheckShared and Shadow work. Fields that this build does not know are kept. The zero value is
// ready for use.
//
// Almost any bytes are some message, with fields that nobody knows. It is the record's checksum that tells damage, and
// Options.Schema that tells shapes apart.
type Codec[M proto.Message] struct{}

var errNil = errors.New("protobuf: a nil message cannot be told from an empty one")

// Append appends the encoding of m. A nil message is an error.
func (Codec[M]) Append(b []byte, m M) ([]byte, error) {
	if !m.ProtoReflect().IsValid() {
		return nil, errNil
	}
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, m)
}

// Decode parses a message, and refuses one that lacks a required field.
func (Codec[M]) Decode(b []byte) (M, error) {
	var none M
	m := none.ProtoReflect().New().Interface().(M)
	if err := proto.Unmarshal(b, m); err != nil {
		return none, err
	}
	return m, nil
}

// Equal compares messages as messages: what the library keeps in them for itself does not count.
func (Codec[M]) Equal(a, b M) bool { return proto.Equal(a, b) }

// Shape is the message's full name: messages of one name are compatible by protocol buffers' own rules.
func (Codec[M]) Shape() string {
	var none M
	return string(none.ProtoReflect().Descriptor().FullName())
}
