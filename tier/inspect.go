package tier

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Names are the Redis keys that belong to a cache key.
type Names struct {
	Bucket    int    // from 0
	Record    string // holds the value, or the fact that there is none
	Lease     string // is there while a reader loads or a writer writes the key
	Watermark string // is the bucket's
}

// NamesOf returns the Redis keys of a cache key under a prefix; "" means DefaultPrefix. buckets is Config.Buckets of
// the prefix's programs; 0 means DefaultBuckets.
func NamesOf(prefix string, buckets int, namespace, key string) (Names, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if err := coherence.CheckName(prefix); err != nil {
		return Names{}, fmt.Errorf("tier: prefix %q %w", prefix, err)
	}
	if err := coherence.CheckName(namespace); err != nil {
		return Names{}, fmt.Errorf("tier: namespace %q %w", namespace, err)
	}
	n, err := l2.CheckBuckets(buckets)
	if err != nil {
		return Names{}, fmt.Errorf("tier: %w", err)
	}
	s := l2.NewKeyspaceOf(prefix, n)
	k := s.Key(namespace, key)
	return Names{Bucket: k.Bucket, Record: k.Record, Lease: k.Lease, Watermark: s.Watermark(k.Bucket)}, nil
}

// Record is what L2 holds of a key.
type Record struct {
	// Readable reports whether a cache may read the record. One that was written before its bucket's watermark was
	// lost, or under another key's name, is not readable: caches take it for a miss.
	Readable    bool
	Absent      bool // the source has no value for the key
	Version     coherence.Version
	Schema      uint32    // of the cache that wrote it
	Incarnation string    // of the bucket when the record was written
	WrittenAt   time.Time // by the writer's clock
	ExpiresAt   time.Time // by the writer's clock; zero: never
	Payload     []byte    // the encoded value
}

// Get reads the record of a key without changing anything. ok is false if there is none. An error that is not
// ErrUnavailable means that Redis holds something else under the record's name.
func (l *L2) Get(ctx context.Context, namespace, key string) (r Record, ok bool, err error) {
	if err := coherence.CheckName(namespace); err != nil {
		return r, false, fmt.Errorf("tier: namespace %q %w", namespace, err)
	}
	k := l.engine.Keyspace().Key(namespace, key)
	raw, w, err := l.engine.Get(ctx, k, l2.ReadOptions{Watermark: true})
	if err != nil || raw == nil {
		return r, false, err
	}
	rec, err := l2.DecodeRecord(raw)
	if err != nil {
		return r, false, err
	}
	return Record{
		Readable:    rec.Incarnation == w.Incarnation && rec.KeyHash == k.Hash,
		Absent:      rec.Absent,
		Version:     rec.Version,
		Schema:      rec.Schema,
		Incarnation: rec.Incarnation.String(),
		WrittenAt:   rec.WrittenAt,
		ExpiresAt:   rec.ExpiresAt,
		Payload:     rec.Payload,
	}, true, nil
}

// Watermark says that every change up to a position of the source has been applied to a bucket.
type Watermark struct {
	Bucket      int
	Incarnation string // drawn at random whenever the bucket's watermark was lost
	Position    coherence.Position
}

// Watermarks reads how far every bucket has come that has a watermark. Without a relay there are none.
func (l *L2) Watermarks(ctx context.Context) ([]Watermark, error) {
	all, err := l.engine.Reached(ctx)
	if err != nil {
		return nil, err
	}
	var out []Watermark
	for b, w := range all {
		if !w.IsZero() {
			out = append(out, Watermark{Bucket: b, Incarnation: w.Incarnation.String(), Position: w.Position})
		}
	}
	return out, nil
}
