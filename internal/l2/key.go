package l2

import (
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Buckets is the number of buckets of a prefix. A key's record, its lease and the watermark of its bucket share one
// hash tag, so that one script can touch all three in a Redis Cluster. The number is part of the format of L2.
const Buckets = 64

// DefaultPrefix begins every Redis key when no prefix is configured.
const DefaultPrefix = "nc"

// Key is a cache key as L2 knows it. Its zero value is not a key: make one with Keyspace.Key.
type Key struct {
	Namespace string
	Name      string // the encoded key; any bytes
	Bucket    int    // 0 to Buckets-1
	Record    string // the Redis key of the record
	Lease     string // the Redis key of the lease
	Hash      uint64 // xxHash64 of Record: the fence's hash of this key
}

// Keyspace maps cache keys to Redis keys. The mapping is part of the format of L2:
//
//	record     prefix:{bucket}:v:namespace:name
//	lease      prefix:{bucket}:l:namespace:name
//	watermark  prefix:{bucket}:w
//	owner      prefix:{0}:o
//	round      prefix:{bucket}:r, of one bucket of each server
//
// where bucket is the decimal number of xxHash64("namespace:name") modulo 64. A namespace has no colon; a name may hold
// any bytes. A Keyspace is immutable and safe for concurrent use.
type Keyspace struct {
	prefix     string
	records    [Buckets]string
	leases     [Buckets]string
	watermarks [Buckets]string
	rounds     [Buckets]string
}

// NewKeyspace returns the keyspace of a prefix; "" means DefaultPrefix. A prefix must not hold a brace (see
// coherence.CheckName).
func NewKeyspace(prefix string) *Keyspace {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	s := &Keyspace{prefix: prefix}
	for b := range Buckets {
		tag := prefix + ":{" + strconv.Itoa(b) + "}:"
		s.records[b], s.leases[b], s.watermarks[b], s.rounds[b] = tag+"v:", tag+"l:", tag+"w", tag+"r"
	}
	return s
}

// Prefix is the prefix that every Redis key of the keyspace begins with.
func (s *Keyspace) Prefix() string { return s.prefix }

// Key places a name of a namespace. The two Redis keys are parts of one string: most reads ask for no lease, and need
// not pay for its name.
func (s *Keyspace) Key(namespace, name string) Key {
	var small [128]byte
	full := append(append(append(small[:0], namespace...), ':'), name...)
	b := int(xxhash.Sum64(full) % Buckets)
	var both strings.Builder
	n := len(s.records[b]) + len(full)
	both.Grow(n + len(s.leases[b]) + len(full))
	both.WriteString(s.records[b])
	both.Write(full)
	both.WriteString(s.leases[b])
	both.Write(full)
	record, lease := both.String()[:n], both.String()[n:]
	return Key{Namespace: namespace, Name: name, Bucket: b, Record: record, Lease: lease, Hash: HashRecord(record)}
}

// Watermark is the Redis key of a bucket's watermark.
func (s *Keyspace) Watermark(bucket int) string { return s.watermarks[bucket] }

// nothing is a Redis key of a bucket that never exists.
func (s *Keyspace) nothing(bucket int) string { return s.watermarks[bucket] + ":none" }

// Owner is the Redis key that names the system which the prefix belongs to.
func (s *Keyspace) Owner() string { return s.prefix + ":{0}:o" }

// Round is the Redis key of the relay's rounds on the server that has a bucket. It has the bucket's hash tag, and so
// that bucket's sessions.
func (s *Keyspace) Round(bucket int) string { return s.rounds[bucket] }

// bucketOf is the bucket of a Redis key of the keyspace.
func (s *Keyspace) bucketOf(key string) int {
	b := 0
	for _, d := range []byte(key[len(s.prefix)+len(":{"):]) {
		if d == '}' {
			break
		}
		b = 10*b + int(d-'0')
	}
	return b
}

// RoundBucket is the bucket whose server has the rounds that are begun, and so end samples.
const RoundBucket = 0

// LeaseHash is the hash of the lease's Redis key, as tracking names it.
func (k *Key) LeaseHash() uint64 { return xxhash.Sum64String(k.Lease) }

// HashRecord is the fence's hash of a record's Redis key, as tracking names it.
func HashRecord(record string) uint64 { return xxhash.Sum64String(record) }
