package nearcache

import (
	"encoding"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/wallclock"
)

// This file translates between what the caller has and what Redis has: a value and a record, a key and its name.

// l2Miss is why a record cannot be served; "" if it can. The values are reasons in metrics.
type l2Miss string

const (
	missAbsent      l2Miss = "absent"
	missNewer       l2Miss = "newer"       // of a newer build: it must not be overwritten
	missSchema      l2Miss = "schema"      // of an older build
	missIncarnation l2Miss = "incarnation" // from before the bucket was started again
	missKey         l2Miss = "key"         // another key's record, renamed or copied
	missShape       l2Miss = "shape"       // of another type of value
	missCorrupt     l2Miss = "corrupt"     // no record, or none that the Codec decodes
	missExpired     l2Miss = "expired"     // past its TTL, and kept for FailSafe alone
	missUnconfirmed l2Miss = "unconfirmed" // a write of unknown outcome may have replaced it
)

// decoded is a record as this cache understands it.
type decoded[K comparable, V any] struct {
	rec   l2.Record
	e     *entry[K, V] // not judged yet; nil unless there is a value, or an absence
	until int64        // when e may not be served any more, by the client's clock
	miss  l2Miss
}

// decode parses a record of a bucket's incarnation into an entry. The entry's deadline never passes the record's own:
// Redis does not push an expiry when it falls due. That deadline is by the writer's wall clock, a backstop and no part
// of any bound.
func (c *Cache[K, V]) decode(k K, hash uint64, incarnation l2.Incarnation, raw []byte) (d decoded[K, V]) {
	if raw == nil {
		d.miss = missAbsent
		return d
	}
	var err error
	d.rec, err = l2.DecodeRecord(raw)
	rec := &d.rec
	if d.miss = c.refusal(rec, err, hash, incarnation); d.miss != "" && d.miss != missUnconfirmed {
		return d
	}
	now := time.Now()
	wall := wallclock.At(now)
	c.client.health.clocks(rec.WrittenAt, rec.ExpiresAt, wall, c.opt.FailSafe.MaxAge)
	left := c.ttl(0, rec.Absent)
	if !rec.ExpiresAt.IsZero() {
		// A clock that is behind the writer's must not make it longer than the writer meant.
		left = min(rec.ExpiresAt.Sub(wall), max(0, rec.ExpiresAt.Sub(rec.WrittenAt)))
	}
	d.until = c.client.at(now) + int64(left)
	tags := len(rec.Tags)
	if c.opt.Clearable {
		tags++
	}
	d.e = c.entryOf(k, rec.Version, rec.Absent, tags)
	if !rec.Absent {
		if d.e.value, err = safely(func() (V, error) { return c.opt.Codec.Decode(rec.Payload) }); err != nil {
			d.e, d.miss = nil, missCorrupt
			return d
		}
	}
	if d.miss == "" && c.opt.FailSafe.MaxAge > 0 && !rec.ExpiresAt.IsZero() && !rec.ExpiresAt.After(wall) {
		d.miss = missExpired
	}
	return d
}

// refusal is why a record that was parsed, or could not be, may not be served.
func (c *Cache[K, V]) refusal(rec *l2.Record, err error, hash uint64, incarnation l2.Incarnation) l2Miss {
	switch {
	case errors.Is(err, l2.ErrNewerFormat) || err == nil && rec.Schema > c.opt.Schema:
		return missNewer
	case err != nil:
		return missCorrupt
	case rec.Schema < c.opt.Schema:
		return missSchema
	case rec.KeyHash != hash:
		return missKey
	case rec.Shape != c.shape && !rec.Absent && rec.Shape != 0 && c.shape != 0:
		return missShape
	case rec.Incarnation == incarnation.Unconfirmed():
		return missUnconfirmed
	case rec.Incarnation != incarnation && !ablate.Out(ablate.ReadSameIncarnation):
		return missIncarnation
	}
	return ""
}

// record encodes what L2 will hold, after a load that took so long.
func (c *Cache[K, V]) record(v V, absent bool, version Version, ttl, took time.Duration) (l2.Record, error) {
	now := wallclock.At(time.Now())
	rec := l2.Record{Absent: absent, Schema: c.opt.Schema, Shape: c.shape, Version: version,
		WrittenAt: now, ExpiresAt: now.Add(ttl),
		SoftExpiry: c.softExpiry(now, ttl, took)}
	if absent {
		return rec, nil
	}
	payload, err := c.encoded(v)
	if err != nil {
		return rec, fmt.Errorf("%w: %w", ErrCodec, err)
	}
	rec.Payload = payload
	if c.opt.Lossy != LossyDecode && c.lossless.due(payload) {
		if err := c.verify(v, payload); err != nil {
			return rec, err
		}
		c.lossless.kept.Store(true)
	}
	return rec, nil
}

// encoded is a value as L2 keeps it.
func (c *Cache[K, V]) encoded(v V) ([]byte, error) {
	return safely(func() ([]byte, error) { return c.opt.Codec.Append(nil, v) })
}

// maxTTL is a hundred years. A longer TTL means "for ever", and must not overflow when it is added to a moment.
const maxTTL = 100 * 365 * 24 * time.Hour

// ttl is how long an entry may be served.
func (c *Cache[K, V]) ttl(asked time.Duration, absent bool) time.Duration {
	ttl := c.opt.TTL
	switch {
	case asked > 0:
		ttl = asked
	case absent:
		ttl = c.opt.AbsentTTL
	}
	if c.opt.Jitter > 0 {
		ttl -= time.Duration(c.opt.Jitter * rand.Float64() * float64(ttl))
	}
	return min(max(ttl, time.Millisecond), maxTTL)
}

// l2TTL is how long L2 keeps what may be served for a TTL.
func (c *Cache[K, V]) l2TTL(ttl time.Duration) time.Duration {
	return ttl + min(c.opt.FailSafe.MaxAge, maxTTL)
}

// softExpiry is when a record is due to be refreshed, after a load that took so long; zero: never.
func (c *Cache[K, V]) softExpiry(now time.Time, ttl, took time.Duration) (t time.Time) {
	switch r := c.opt.Refresh; {
	case r.After > 0:
		t = now.Add(time.Duration(r.After * float64(ttl)))
	case r.Beta > 0:
		t = now.Add(ttl - min(ttl, max(time.Millisecond, time.Duration(min(r.Beta*float64(took), float64(maxTTL))))))
	}
	return t
}

// key places k in L2.
func (c *Cache[K, V]) key(k K) (l2.Key, error) {
	if c.oddKeys && !selfEqual(k) {
		return l2.Key{}, c.oddKey()
	}
	name, err := c.encode(k)
	if err != nil {
		return l2.Key{}, fmt.Errorf("nearcache: cache %q: the key has no name: %w", c.namespace, err)
	}
	return c.client.keyspace.Key(c.namespace, name), nil
}

// encodeKey is how a cache names its keys: the caller's function, or what suits K. It is nil for a K that has no
// obvious, injective name. Only a TextMarshaler's error is an error: two keys without a name must not share one.
func encodeKey[K comparable](own func(K) string) func(K) (string, error) {
	if own != nil {
		return func(k K) (string, error) { return safely(func() (string, error) { return own(k), nil }) }
	}
	t := reflect.TypeFor[K]()
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return func(k K) (string, error) {
			b, err := safely(func() ([]byte, error) { return any(k).(encoding.TextMarshaler).MarshalText() })
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

// decodeKey is the inverse of encodeKey: the caller's function, or what suits K. It is nil if there is none.
func decodeKey[K comparable](encode func(K) string, own func(string) (K, error)) func(string) (K, error) {
	switch {
	case own != nil:
		return own
	case encode != nil:
		return nil
	}
	t := reflect.TypeFor[K]()
	if t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		if !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			return nil
		}
		return func(name string) (k K, err error) {
			err = any(&k).(encoding.TextUnmarshaler).UnmarshalText([]byte(name))
			return k, err
		}
	}
	switch t.Kind() {
	case reflect.String:
		return func(name string) (k K, err error) {
			reflect.ValueOf(&k).Elem().SetString(name)
			return k, nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(name string) (k K, err error) {
			n, err := strconv.ParseInt(name, 10, t.Bits())
			reflect.ValueOf(&k).Elem().SetInt(n)
			return k, err
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(name string) (k K, err error) {
			n, err := strconv.ParseUint(name, 10, t.Bits())
			reflect.ValueOf(&k).Elem().SetUint(n)
			return k, err
		}
	}
	return nil
}
