package nearcache

import (
	"encoding/json"
)

// Codec turns values into bytes for L2 and back. Both methods are called concurrently; Decode must not keep or modify b
// and must refuse, not guess, what it cannot decode: that is a counted miss. There are further ones below
// nearcache/codec. A Codec of values that carry more than they mean is a Comparer too. Append is not called for a value
// that contains itself, or is nested more than 10,000 deep, unless the Codec is JSON, which refuses these itself.
type Codec[V any] interface {
	Append(b []byte, v V) ([]byte, error) // appends v's encoding to b
	Decode(b []byte) (V, error)
}

// JSON is the default Codec: encoding/json.
type JSON[V any] struct{}

// Append appends v as JSON.
func (JSON[V]) Append(b []byte, v V) ([]byte, error) {
	j, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(b, j...), nil
}

// Decode parses JSON.
func (JSON[V]) Decode(b []byte) (v V, err error) {
	err = json.Unmarshal(b, &v)
	return v, err
}
