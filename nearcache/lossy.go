package nearcache

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"
)

// LossyPolicy says what happens to a value that is not the same after it was encoded and decoded. If it were cached as
// it is, reads from the source would differ from reads from L2.
type LossyPolicy uint8

// The policies.
const (
	// LossyCheck takes the first value of a cache for a test of its Codec: if that is not kept, the read fails with
	// ErrCodec, which names the part that differs. A later value that is not kept is served as the Loader returned it,
	// and cached in no tier.
	LossyCheck LossyPolicy = iota
	// LossyFail fails every read of such a value with ErrCodec.
	LossyFail
	// LossyDecode serves every value as it is after decoding, also when it comes from the Loader: the Codec drops parts
	// of values on purpose.
	LossyDecode
)

// verifyEvery is the sample of encodings that are decoded again and compared, of a type that cannot be lossy.
const verifyEvery = 64

// risk is what a Codec may lose of a type, found out once.
type risk uint8

const (
	riskNone risk = iota // nothing: a sample is verified
	riskUTF8             // strings that are not UTF-8: JSON writes an escape in their place
	riskAny              // whatever this package cannot know: every encoding is verified
)

// lossless verifies encodings.
type lossless struct {
	risk  risk
	count atomic.Uint64
	kept  atomic.Bool // a value was the same after decoding
}

// due reports whether an encoding must be verified. The first always is.
func (l *lossless) due(payload []byte) bool {
	switch {
	case l.risk == riskAny:
		return true
	case l.risk == riskUTF8 && bytes.Contains(payload, []byte(`\ufffd`)):
		return true
	}
	return l.count.Add(1)%verifyEvery == 1
}

// riskOf finds out what a Codec may lose of a type.
func riskOf[V any](codec Codec[V]) risk {
	if _, ok := codec.(JSON[V]); !ok {
		return riskAny
	}
	return jsonRisk(reflect.TypeFor[V](), make(map[reflect.Type]bool))
}

var timeType = reflect.TypeFor[time.Time]()

// jsonRisk looks for what encoding/json drops or changes: fields without a name in JSON, numbers within interfaces,
// which come back as float64, and everything that types do by methods of their own.
func jsonRisk(t reflect.Type, seen map[reflect.Type]bool) risk {
	if t == timeType || seen[t] {
		return riskNone
	}
	seen[t] = true
	if marshals(t) {
		return riskAny
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8,
		reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64:
		return riskNone
	case reflect.String:
		return riskUTF8
	case reflect.Slice, reflect.Array:
		return jsonRisk(t.Elem(), seen)
	case reflect.Pointer:
		switch t.Elem().Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice: // a pointer to nil comes back as nil
			return riskAny
		}
		return jsonRisk(t.Elem(), seen)
	case reflect.Map:
		if k := t.Key().Kind(); k != reflect.String || t.Key() != reflect.TypeFor[string]() {
			return riskAny
		}
		return max(riskUTF8, jsonRisk(t.Elem(), seen))
	case reflect.Struct:
		worst, names := riskNone, make(map[string]bool)
		for i := range t.NumField() {
			f := t.Field(i)
			name := bytes.ToLower([]byte(f.Name))
			if f.Anonymous || !f.IsExported() {
				return riskAny
			}
			if tag := f.Tag.Get("json"); tag != "" {
				n, options, _ := bytes.Cut([]byte(tag), []byte(","))
				if string(n) == "-" {
					return riskAny
				}
				if _, own := f.Type.MethodByName("IsZero"); own && f.Type != timeType && bytes.Contains(options,
					[]byte("omitzero")) {
					return riskAny // the type decides what is left out
				}
				if len(n) > 0 {
					name = bytes.ToLower(n)
				}
			}
			if names[string(name)] { // two fields of one name: JSON drops or mixes them
				return riskAny
			}
			names[string(name)] = true
			worst = max(worst, jsonRisk(f.Type, seen))
		}
		return worst
	}
	return riskAny // interfaces, and what JSON cannot encode
}

// mayBypass reports whether a value that could not be encoded is served uncached instead of failing its read.
func (c *Cache[K, V]) mayBypass(err error) bool {
	return errors.Is(err, errLossy) && c.opt.Lossy == LossyCheck && c.lossless.kept.Load()
}

// decodeLossy replaces loaded values by what their encodings decode to, if Options.Lossy says so: then a value is the
// same from every tier.
func (c *Cache[K, V]) decodeLossy(batch []*flight[K, V]) {
	if c.opt.Lossy != LossyDecode {
		return
	}
	for _, f := range batch {
		a := &f.answer
		if a.err != nil || a.absent {
			continue
		}
		payload, err := c.encoded(a.e.Value)
		if err == nil {
			a.e.Value, err = safely(func() (V, error) { return c.opt.Codec.Decode(payload) })
		}
		if err != nil {
			c.m.rejected("codec").Inc()
			a.err = fmt.Errorf("%w: %w", ErrCodec, err)
		}
	}
}
