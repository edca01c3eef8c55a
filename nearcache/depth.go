package nearcache

import (
	"errors"
	"reflect"
)

// deepest bounds how deep a value may be nested that is given to a Codec. Most Codecs call themselves for each level,
// and a program whose stack overflows cannot recover: so a value that contains itself would end it.
const deepest = 10_000

var errDeep = errors.New("the value contains itself, or is nested more than 10,000 deep")

// endless reports whether a Codec must be kept from values of a type that are nested too deep: the type allows any
// depth, and the Codec is not encoding/json, which finds out by itself.
func endless[V any](codec Codec[V]) bool {
	for c := codec; c != nil; {
		if _, ok := c.(JSON[V]); ok {
			return false
		}
		w, ok := c.(interface{ Unwrap() Codec[V] })
		if !ok {
			break
		}
		c = w.Unwrap()
	}
	return nests(reflect.TypeFor[V](), make(map[reflect.Type]bool))
}

// nests reports whether values of a type can hold values of any depth: within an interface, or of the type itself. open
// are the types around it. Fields that are not exported are left out: Codecs do not see them.
func nests(t reflect.Type, open map[reflect.Type]bool) bool {
	if open[t] {
		return true
	}
	open[t] = true
	defer delete(open, t)
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return nests(t.Elem(), open)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); (f.IsExported() || f.Anonymous) && nests(f.Type, open) {
				return true
			}
		}
	}
	return false
}

// tooDeep reports whether a value is nested deeper than some number of levels.
func tooDeep(v reflect.Value, levels int) bool {
	if levels < 0 {
		return true
	}
	levels--
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		return !v.IsNil() && tooDeep(v.Elem(), levels)
	case reflect.Slice, reflect.Array:
		if scalar(v.Type().Elem().Kind()) {
			return false
		}
		for i := range v.Len() {
			if tooDeep(v.Index(i), levels) {
				return true
			}
		}
	case reflect.Map:
		if scalar(v.Type().Elem().Kind()) {
			return false
		}
		for each := v.MapRange(); each.Next(); {
			if tooDeep(each.Value(), levels) {
				return true
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); (f.IsExported() || f.Anonymous) && tooDeep(v.Field(i), levels) {
				return true
			}
		}
	}
	return false
}

// scalar kinds hold no other values.
func scalar(k reflect.Kind) bool {
	return k < reflect.Array || k == reflect.String || k == reflect.UnsafePointer
}
