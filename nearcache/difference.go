package nearcache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"unsafe"
)

// difference names the first part of two values that differs, as a path from the value: ".Address.zip", "[3]", `["a"]`.
// It is "" if they are equal. Unexported fields are compared too. Empty and nil slices and maps are equal, and so are
// two NaNs, and values whose method Equal says so. So are two texts of JSON (json.RawMessage) that parse alike.
func difference[V any](a, b V) string {
	var d differ
	path, same := d.values(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem())
	switch {
	case same:
		return ""
	case path == "":
		return " (the value itself)"
	}
	return path
}

// differ compares values that are addressable, so that it can read unexported fields. Its methods report whether two
// values are the same, and if they are not, the path from them to the first difference. Nearly all values are the same,
// and each miss may compare one. So a path is built on the way back from a difference, and not on the way down.
type differ struct {
	seen map[visit]bool // pairs under comparison: values may contain themselves
}

type visit struct {
	a, b unsafe.Pointer
	n    int
	t    reflect.Type
}

func (d *differ) values(a, b reflect.Value) (path string, same bool) {
	if a.Type() != b.Type() {
		return "", false
	}
	if equal, ok := equalMethod(a, b); ok {
		return "", equal
	}
	switch a.Kind() {
	case reflect.Struct:
		return d.fields(a, b)
	case reflect.Array:
		return d.elements(a, b)
	case reflect.Slice:
		if a.Type() == reflect.TypeFor[json.RawMessage]() && sameJSON(a.Bytes(), b.Bytes()) {
			return "", true
		}
		if a.Len() != b.Len() {
			return "", false
		}
		if d.enter(a.Type(), a.Len(), a.UnsafePointer(), b.UnsafePointer()) {
			return "", true
		}
		return d.elements(a, b)
	case reflect.Map:
		return d.maps(a, b)
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return "", a.IsNil() == b.IsNil()
		}
		if d.enter(a.Type(), 0, a.UnsafePointer(), b.UnsafePointer()) {
			return "", true
		}
		return d.values(a.Elem(), b.Elem())
	case reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return "", a.IsNil() == b.IsNil()
		}
		return d.values(addressable(a.Elem()), addressable(b.Elem()))
	case reflect.Func:
		return "", a.IsNil() && b.IsNil()
	}
	return "", sameScalar(a, b)
}

func (d *differ) fields(a, b reflect.Value) (path string, same bool) {
	for i := range a.NumField() {
		if path, same := d.values(readable(a.Field(i)), readable(b.Field(i))); !same {
			return "." + a.Type().Field(i).Name + path, false
		}
	}
	return "", true
}

func (d *differ) elements(a, b reflect.Value) (path string, same bool) {
	for i := range a.Len() {
		if path, same := d.values(a.Index(i), b.Index(i)); !same {
			return "[" + strconv.Itoa(i) + "]" + path, false
		}
	}
	return "", true
}

func (d *differ) maps(a, b reflect.Value) (path string, same bool) {
	if a.Len() != b.Len() {
		return "", false
	}
	if d.enter(a.Type(), 0, a.UnsafePointer(), b.UnsafePointer()) {
		return "", true
	}
	for _, k := range a.MapKeys() {
		other := b.MapIndex(k)
		if other.IsValid() {
			path, same = d.values(addressable(a.MapIndex(k)), addressable(other))
		}
		if !other.IsValid() || !same {
			return fmt.Sprintf("[%#v]", k) + path, false
		}
	}
	return "", true
}

// enter reports whether a pair is being compared already, or is one and the same.
func (d *differ) enter(t reflect.Type, n int, a, b unsafe.Pointer) bool {
	v := visit{a, b, n, t}
	if a == b || d.seen[v] {
		return true
	}
	if d.seen == nil {
		d.seen = make(map[visit]bool)
	}
	d.seen[v] = true
	return false
}

// sameJSON reports whether two texts of JSON are the same to whoever parses them. The JSON Codec leaves out blanks,
// escapes what HTML would, and writes null for a text that is nil.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	plain := func(text []byte) ([]byte, bool) {
		if len(text) == 0 {
			return []byte("null"), text == nil
		}
		var compact, escaped bytes.Buffer
		err := json.Compact(&compact, text)
		json.HTMLEscape(&escaped, compact.Bytes())
		return escaped.Bytes(), err == nil
	}
	x, isJSON := plain(a)
	y, isToo := plain(b)
	return isJSON && isToo && bytes.Equal(x, y)
}

func sameScalar(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return sameFloat(a.Float(), b.Float())
	case reflect.Complex64, reflect.Complex128:
		x, y := a.Complex(), b.Complex()
		return sameFloat(real(x), real(y)) && sameFloat(imag(x), imag(y))
	}
	return a.Equal(b) // booleans, integers, strings, channels, unsafe pointers
}

func sameFloat(x, y float64) bool { return x == y || math.IsNaN(x) && math.IsNaN(y) }

// equalMethod calls a's method Equal, if it takes a value of the same type and returns a bool.
func equalMethod(a, b reflect.Value) (equal, ok bool) {
	if k := a.Kind(); (k == reflect.Pointer || k == reflect.Interface || k == reflect.Map || k == reflect.Slice) &&
		(a.IsNil() || b.IsNil()) {
		return false, false
	}
	m, found := a.Type().MethodByName("Equal")
	if !found || m.Type.NumIn() != 2 || m.Type.In(1) != a.Type() || m.Type.NumOut() != 1 ||
		m.Type.Out(0).Kind() != reflect.Bool {
		return false, false
	}
	return m.Func.Call([]reflect.Value{a, b})[0].Bool(), true
}

// readable is an addressable field without the mark that reflect puts on an unexported one.
func readable(v reflect.Value) reflect.Value {
	return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
}

// addressable is a copy of a value that can be addressed.
func addressable(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type()).Elem()
	p.Set(v)
	return p
}
