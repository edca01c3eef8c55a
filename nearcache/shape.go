package nearcache

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Shaper is a Codec that knows by itself which types can read each other's encodings. A Codec that wraps another one
// has an Unwrap method for it.
type Shaper interface {
	// Shape names the type as the Codec encodes it. Values of types with one shape can be decoded as each other without
	// a loss that matters. Empty: the Codec does not know.
	Shape() string
}

// shapeOf is a fingerprint of how values are encoded: 0 if it is not known. Records of another shape are misses: a
// build whose struct has one more field would read a zero from a record that an older build has written. Options.Shape,
// the Codec, or the type's fields give it, in this order.
//
// The names of the Codec and of those that it wraps are part of it. A number that one Codec has encoded may be another
// number to another one: 5 is the byte 0x35 in JSON, which is 53 in MessagePack.
func shapeOf[V any](codec Codec[V], own string) uint32 {
	if own != "" {
		return fingerprint("own:" + own)
	}
	names, isJSON := "", false
	for c := codec; c != nil; {
		if s, ok := c.(Shaper); ok {
			if name := s.Shape(); name != "" {
				return fingerprint("codec:" + names + name)
			}
			return 0
		}
		names += codecName(c) + ":"
		_, isJSON = c.(JSON[V])
		w, ok := c.(interface{ Unwrap() Codec[V] })
		if !ok {
			break
		}
		c = w.Unwrap()
	}
	d := shapeWriter{json: isJSON, known: make(map[reflect.Type]int), open: make(map[reflect.Type]int)}
	d.write(reflect.TypeFor[V]())
	return fingerprint("type:" + names + d.String())
}

// codecName is the name of a Codec's type with its package, and without the type parameter.
func codecName(codec any) string {
	t := reflect.TypeOf(codec)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name, _, _ := strings.Cut(t.Name(), "[")
	return t.PkgPath() + "." + name
}

func fingerprint(s string) uint32 {
	h := xxhash.Sum64String(s)
	return max(1, uint32(h)^uint32(h>>32))
}

// shapeWriter describes a type by what its encodings depend on: kinds, fields' names, tags and types, and not the names
// of types.
type shapeWriter struct {
	strings.Builder
	json  bool // fields are found by name, so their order does not matter
	known map[reflect.Type]int
	open  map[reflect.Type]int // those without fields that are being described, such as type tree []tree
}

func (d *shapeWriter) write(t reflect.Type) {
	if marshals(t) {
		fmt.Fprintf(d, "%s.%s", t.PkgPath(), t.String()) // its encoding is its own affair
		return
	}
	if t.Name() != "" && t.Kind() != reflect.Struct {
		if n, ok := d.open[t]; ok {
			fmt.Fprintf(d, "^%d", n)
			return
		}
		d.open[t] = len(d.open)
		defer delete(d.open, t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		d.write(t.Elem()) // a pointer is encoded as what it points to
	case reflect.Slice:
		d.WriteString("[]")
		d.write(t.Elem())
	case reflect.Array:
		fmt.Fprintf(d, "[%d]", t.Len())
		d.write(t.Elem())
	case reflect.Map:
		d.WriteString("map[")
		d.write(t.Key())
		d.WriteString("]")
		d.write(t.Elem())
	case reflect.Struct:
		d.structure(t)
	case reflect.Interface:
		d.WriteString("interface")
	default:
		d.WriteString(t.Kind().String())
	}
}

func (d *shapeWriter) structure(t reflect.Type) {
	if n, ok := d.known[t]; ok { // a type that contains itself
		fmt.Fprintf(d, "#%d", n)
		return
	}
	d.known[t] = len(d.known)
	var fields []string
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() && !f.Anonymous {
			continue
		}
		name := f.Name + " " + string(f.Tag)
		if d.json {
			tag := f.Tag.Get("json")
			if tag == "-" {
				continue
			}
			// The options after the name say when a field is left out, and not how it is read.
			named, options, _ := strings.Cut(tag, ",")
			if named == "" && !f.Anonymous {
				named = f.Name
			}
			name = named
			if slices.Contains(strings.Split(options, ","), "string") {
				name += ",string"
			}
		}
		sub := shapeWriter{json: d.json, known: d.known, open: d.open}
		sub.write(f.Type)
		fields = append(fields, name+" "+sub.String())
	}
	if d.json {
		slices.Sort(fields)
	}
	fmt.Fprintf(d, "{%s}", strings.Join(fields, ";"))
}

// marshals reports whether a type, or a pointer to it, encodes itself.
func marshals(t reflect.Type) bool {
	for _, i := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler]()} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}
