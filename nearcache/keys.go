package nearcache

import (
	"fmt"
	"reflect"
)

// lookupRule says which keys are looked up in L1. A hit tests it once, whatever K is.
type lookupRule uint8

const (
	lookupAny       lookupRule = iota // every value of K
	lookupNone                        // L1 is switched off
	lookupSelfEqual                   // those that equal themselves: others cannot be hashed, or are never found again
)

// canBeOdd reports whether a comparable type has values that do not equal themselves (NaN), or whose comparison panics:
// an interface may hold a slice.
func canBeOdd(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Interface, reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return true
	case reflect.Array:
		return canBeOdd(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if canBeOdd(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

// selfEqual reports whether a key can be hashed and found again.
func selfEqual[K comparable](k K) (yes bool) {
	defer func() {
		if recover() != nil {
			yes = false
		}
	}()
	return equal(k, k)
}

func equal[K comparable](a, b K) bool { return a == b }

// oddKey is the error of a read or a write of a key that is not selfEqual.
func (c *Cache[K, V]) oddKey() error {
	return fmt.Errorf("nearcache: cache %q: %w: a key does not equal itself:"+
		" it is or holds a NaN, or a value that is not comparable (K is %v)",
		c.namespace, ErrUnsupported, reflect.TypeFor[K]())
}
