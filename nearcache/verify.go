package nearcache

import (
	"errors"
	"fmt"
)

// errLossy says that a value is not what its encoding decodes to.
var errLossy = errors.New("lossy")

// verify decodes what was encoded and compares it with the value, unexported fields and all: a field that the codec
// drops would be there when the Loader answers and gone when L2 does. See difference for what is equal.
func (c *Cache[K, V]) verify(v V, payload []byte) error {
	got, err := safely(func() (V, error) { return c.opt.Codec.Decode(payload) })
	if err != nil {
		return fmt.Errorf("%w: %w: its own encoding does not decode: %w", ErrCodec, errLossy, err)
	}
	path, err := safely(func() (string, error) {
		if eq := comparer(c.opt.Codec); eq != nil {
			if !eq.Equal(v, got) {
				return " (by the Codec's Equal)", nil
			}
			return "", nil
		}
		return difference(v, got), nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: comparing a value with its decoded encoding: %w (LossyDecode leaves the check out)", ErrCodec,
			err)
	case path != "":
		return fmt.Errorf("%w: %w: %T%s differs after a round trip (see Options.Lossy)", ErrCodec, errLossy, v, path)
	}
	return nil
}

// Comparer is what a Codec can implement too, for values that carry more than they mean, as protobuf messages do. A new
// value is compared by it with what was decoded again. A Codec that wraps another one has an Unwrap method for it.
type Comparer[V any] interface {
	Equal(a, b V) bool
}

// comparer is that of a Codec, or of what it wraps; nil if there is none.
func comparer[V any](codec Codec[V]) Comparer[V] {
	for {
		if eq, ok := codec.(Comparer[V]); ok {
			return eq
		}
		w, ok := codec.(interface{ Unwrap() Codec[V] })
		if !ok {
			return nil
		}
		codec = w.Unwrap()
	}
}
