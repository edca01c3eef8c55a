// Package fleet is a process of the fleet that the section "scale" of the benchmarks measures: some instances of the
// near cache, or their relay. The section builds it from two versions of the library and measures them in turns. So it
// uses only exported declarations of the library that both versions have.
package fleet

import "time"

// Config is the configuration of a process.
type Config struct {
	Redis         string // host:port
	Postgres      string // URL
	Kafka         string // host:port; "" means that Redis is the only channel
	Topic, Prefix string
	Partitions    int // of the topic
	Instances     int // of the process; the relay has none
	Bound         time.Duration
}

// Counts are the totals of a process since its start.
type Counts struct {
	Reads, Errors float64
	L1Hits, Loads float64
	Pushes        float64 // keys that Redis's tracking announced
	Events        float64 // that came by Kafka
	ToRedis       float64 // changes that the relay has brought to Redis
	ToKafka       float64 // and to Kafka
	KafkaIn       float64 // bytes on the connections to Kafka
	KafkaOut      float64
	Proved        float64 // the bound that the worst instance can prove now, in seconds; 0 if one can prove nothing
}

// Plus returns the sum of two counts, except for Proved, which is the worse of the two.
func (c Counts) Plus(d Counts) Counts {
	proved := max(c.Proved, d.Proved)
	if c.Proved == 0 || d.Proved == 0 {
		proved = 0
	}
	return Counts{c.Reads + d.Reads, c.Errors + d.Errors, c.L1Hits + d.L1Hits, c.Loads + d.Loads, c.Pushes + d.Pushes,
		c.Events + d.Events, c.ToRedis + d.ToRedis, c.ToKafka + d.ToKafka, c.KafkaIn + d.KafkaIn,
		c.KafkaOut + d.KafkaOut, proved}
}

// The database.
const (
	// Namespace is that of the cache, and of the trigger.
	Namespace = "fleet"
	// Table has a row for each key: id is Key(k).
	Table = "fleet"
)
