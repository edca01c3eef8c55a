package coherence

import "github.com/cespare/xxhash/v2"

// PartitionOf is the partition that the relay publishes a key's events to: xxHash64("namespace:key") modulo n.
func PartitionOf(namespace, key string, n int) int {
	return int(xxhash.Sum64String(namespace+":"+key) % uint64(n))
}
