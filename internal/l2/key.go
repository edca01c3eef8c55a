package l2

import (
	"strings"

	"github.com/cespare/xxhash/v2"
)

// DefaultPrefix begins every Redis key when no prefix is configured.
const DefaultPrefix = "nc"

// Key is a cache key as L2 knows it. Its zero value is not a key: make one with Keyspace.Key.
type Key struct {
	Namespace string
	Name      string // the encoded key; any bytes
	Bucket    int    // from 0, less than the keyspace's Buckets
	Record    string // the Redis key of the record
	Lease     string // the Redis key of the lease
	Hash      uint64 // xxHash64 of Record: the fence's hash of this key
}

// Keyspace maps cache keys to Redis keys. The mapping is part of the format of L2:
//
//	record     prefix:{tag}:v:namespace:name
//	lease      prefix:{tag}:l:namespace:name
//	watermark  prefix:{tag}:w
//	round      prefix:{tag}:r, of one bucket of each server
//	owner      prefix:{0}:o
//	buckets    prefix:{0}:b, how many there are
//
// where tag is that of the key's bucket, see tagsOf. The bucket is xxHash64("namespace:name") modulo the number of
// buckets. A namespace has no colon; a name may hold any bytes. A Keyspace is immutable and safe for concurrent use.
type Keyspace struct {
	prefix  string
	mask    uint64 // the number of buckets, less one
	buckets []bucketKeys
	tags    *tagTable
}

// bucketKeys are what the Redis keys of one bucket are, or begin with.
type bucketKeys struct{ records, leases, watermark, round, nothing, probes string }

// NewKeyspace returns the keyspace of a prefix with DefaultBuckets; "" means DefaultPrefix. A prefix must not hold a
// brace (see coherence.CheckName).
func NewKeyspace(prefix string) *Keyspace { return NewKeyspaceOf(prefix, DefaultBuckets) }

// NewKeyspaceOf is NewKeyspace with another number of buckets, which CheckBuckets must allow.
func NewKeyspaceOf(prefix string, buckets int) *Keyspace {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	s := &Keyspace{prefix: prefix, mask: uint64(buckets - 1), buckets: make([]bucketKeys, buckets), tags: tagsOf(buckets)}
	for b, tag := range s.tags.tags {
		begin := prefix + ":{" + tag + "}:"
		s.buckets[b] = bucketKeys{records: begin + "v:", leases: begin + "l:", watermark: begin + "w", round: begin + "r",
			nothing: begin + "w:none", probes: begin + "p:"}
	}
	return s
}

// Buckets is the number of buckets.
func (s *Keyspace) Buckets() int { return len(s.buckets) }

// All has every bucket.
func (s *Keyspace) All() BucketSet { return AllBuckets(len(s.buckets)) }

// Prefix is the prefix that every Redis key of the keyspace begins with.
func (s *Keyspace) Prefix() string { return s.prefix }

// Key places a name of a namespace. The two Redis keys are parts of one string: most reads ask for no lease, and need
// not pay for its name.
func (s *Keyspace) Key(namespace, name string) Key {
	var small [128]byte
	full := append(append(append(small[:0], namespace...), ':'), name...)
	b := int(xxhash.Sum64(full) & s.mask)
	of := &s.buckets[b]
	var both strings.Builder
	n := len(of.records) + len(full)
	both.Grow(n + len(of.leases) + len(full))
	both.WriteString(of.records)
	both.Write(full)
	both.WriteString(of.leases)
	both.Write(full)
	record, lease := both.String()[:n], both.String()[n:]
	return Key{Namespace: namespace, Name: name, Bucket: b, Record: record, Lease: lease, Hash: HashRecord(record)}
}

// Namespaces are what the Redis keys of a namespace's records and leases begin with.
func (s *Keyspace) Namespaces(namespace string) (begin []string) {
	for b := range s.buckets {
		begin = append(begin, s.buckets[b].records+namespace+":", s.buckets[b].leases+namespace+":")
	}
	return begin
}

// Watermark is the Redis key of a bucket's watermark.
func (s *Keyspace) Watermark(bucket int) string { return s.buckets[bucket].watermark }

// nothing is a Redis key of a bucket that never exists.
func (s *Keyspace) nothing(bucket int) string { return s.buckets[bucket].nothing }

// Owner is the Redis key that names the system which the prefix belongs to.
func (s *Keyspace) Owner() string { return s.prefix + ":{0}:o" }

// Home is the bucket that is mostly on the same server as the keys of the whole prefix.
func (s *Keyspace) Home() int { return s.bucketOf(s.Owner()) }

// Round is the Redis key of the relay's rounds on the server that has a bucket. It has the bucket's hash tag, and so
// that bucket's sessions.
func (s *Keyspace) Round(bucket int) string { return s.buckets[bucket].round }

// Layout is the Redis key that says how many buckets the prefix has.
func (s *Keyspace) Layout() string { return s.prefix + ":{0}:b" }

// bucketOf is the bucket of a Redis key of the keyspace. The keys of the whole prefix count as keys of the bucket that
// has their slot in its share.
func (s *Keyspace) bucketOf(key string) int {
	number := 0
	for _, d := range []byte(key[len(s.prefix)+len(":{"):]) {
		if d == '}' {
			break
		}
		number = 10*number + int(d-'0')
	}
	return s.tags.bucketOf(number)
}

// RoundBucket is the bucket whose server has the rounds that are begun, and so end samples.
const RoundBucket = 0

// LeaseHash is the hash of the lease's Redis key, as tracking names it.
func (k *Key) LeaseHash() uint64 { return xxhash.Sum64String(k.Lease) }

// HashRecord is the fence's hash of a record's Redis key, as tracking names it.
func HashRecord(record string) uint64 { return xxhash.Sum64String(record) }
