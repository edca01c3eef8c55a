package nearcache

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// verify decodes what was encoded and compares it with the value, unexported fields and all: a field that the codec drops
// would be there when the Loader answers and gone when L2 does. Empty and nil slices and maps count as equal, and so do
// values whose Equal method says so.
func (c *Cache[K, V]) verify(v V, payload []byte) error {
	got, err := safely(func() (V, error) { return c.opt.Codec.Decode(payload) })
	if err != nil {
		return fmt.Errorf("%w: its own encoding does not decode: %w", ErrCodec, err)
	}
	var path diffPath
	_, err = safely(func() (bool, error) {
		if eq := comparer(c.opt.Codec); eq != nil {
			if !eq.Equal(v, got) {
				path.first = " (by the Codec's Equal)"
			}
			return true, nil
		}
		return cmp.Equal(v, got, cmp.Exporter(func(reflect.Type) bool { return true }),
			cmpopts.EquateEmpty(), cmpopts.EquateNaNs(), cmp.Reporter(&path)), nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("%w: comparing a value with its decoded encoding: %w (Options.Lossy leaves the check out)", ErrCodec, err)
	case path.first != "":
		return fmt.Errorf("%w: %T%s differs after a round trip (Options.Lossy allows it)", ErrCodec, v, path.first)
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

// diffPath is a cmp.Reporter that keeps the path of the first difference.
type diffPath struct {
	path  cmp.Path
	first string
}

// PushStep is called on the way down.
func (d *diffPath) PushStep(s cmp.PathStep) { d.path = append(d.path, s) }

// PopStep is called on the way up.
func (d *diffPath) PopStep() { d.path = d.path[:len(d.path)-1] }

// Report is called at every leaf.
func (d *diffPath) Report(r cmp.Result) {
	if r.Equal() || d.first != "" {
		return
	}
	var b strings.Builder
	for _, s := range d.path[1:] {
		b.WriteString(s.String())
	}
	d.first = b.String()
	if d.first == "" {
		d.first = " (the value itself)"
	}
}
