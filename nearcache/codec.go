package nearcache

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
)

// Codec turns values into bytes for L2 and back. Both methods are called concurrently; Decode must not keep or modify b
// and must refuse, not guess, what it cannot decode: that is a counted miss. There are further ones below nearcache/codec.
// A Codec of values that carry more than they mean is a Comparer too.
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

// encodeKey is how a cache names its keys: the caller's function, or what suits K. It is nil for a K that has no obvious,
// injective name. Only a TextMarshaler's error is an error: two keys without a name must not share one.
func encodeKey[K comparable](own func(K) string) func(K) (string, error) {
	if own != nil {
		return func(k K) (string, error) { return own(k), nil }
	}
	t := reflect.TypeFor[K]()
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return func(k K) (string, error) {
			b, err := any(k).(encoding.TextMarshaler).MarshalText()
			return string(b), err
		}
	}
	switch t.Kind() {
	case reflect.String:
		return func(k K) (string, error) {
			if s, ok := any(k).(string); ok {
				return s, nil
			}
			return reflect.ValueOf(k).String(), nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(k K) (string, error) { return strconv.FormatInt(reflect.ValueOf(k).Int(), 10), nil }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(k K) (string, error) { return strconv.FormatUint(reflect.ValueOf(k).Uint(), 10), nil }
	}
	return nil
}
