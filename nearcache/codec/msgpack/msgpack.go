// Package msgpack is a nearcache.Codec for MessagePack.
package msgpack

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// Codec encodes values of type V as MessagePack, with the field tags and the interfaces of
// github.com/vmihailenco/msgpack/v5. It sorts the keys of a map[string]any, map[string]string and map[string]bool;
// values with other maps in them are encoded differently from time to time, which Shadow mode and Options.CheckShared
// take for a difference. The zero value is ready for use.
type Codec[V any] struct{}

// Append appends the encoding of v.
func (Codec[V]) Append(b []byte, v V) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	e := msgpack.GetEncoder()
	defer msgpack.PutEncoder(e)
	e.Reset(buf)
	e.SetSortMapKeys(true)
	e.UseCompactInts(true)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Decode parses one value, and refuses bytes that follow it, and values nested more than 1,000 deep.
func (Codec[V]) Decode(b []byte) (v V, err error) {
	var none V
	if err := shallow(b); err != nil {
		return none, err
	}
	r := bytes.NewReader(b)
	d := msgpack.GetDecoder()
	defer msgpack.PutDecoder(d)
	d.Reset(r)
	if err := d.Decode(&v); err != nil {
		return none, err
	}
	if r.Len() > 0 {
		return none, fmt.Errorf("msgpack: %d bytes follow the value", r.Len())
	}
	return v, nil
}
