package suite

import (
	"math"
	"time"
)

// channelConfig is the configuration of a worker process.
type channelConfig struct {
	Redis, Kafka, Topic string
	Shared, Prefix      string   // Shared is the file of the shared source
	Records             []string // the prefixes of the Redis keys of records
	Instances           int      // in each process
	Point               channelPoint
}

// channelPoint is one set of parameters. Rates are those of all instances together.
type channelPoint struct {
	Instances, Keys int
	Writes          float64
	Uniform         bool // every key is written equally often; otherwise a key is written as often as it is read
}

// channelReads is the reads per second of all instances. It is low on purpose: the cost of coherence is measured, not
// that of reading.
const channelReads = 2000.0

// channelTTL is the TTL of every value, and so the longest time for which Redis remembers its readers.
const channelTTL = time.Hour

// holding returns, for each key, the probability that an instance holds it after a long time: that it has read the key
// since the last write and within the TTL. hits is the expected hit ratio.
func (c channelPoint) holding() (hold []float64, hits float64) {
	hold = make([]float64, c.Keys)
	sum := 0.0
	for k := range hold {
		hold[k] = math.Pow(float64(k+1), -zipfS)
		sum += hold[k]
	}
	for k, x := range hold {
		share := x / sum
		r, w := channelReads/float64(c.Instances)*share, c.Writes*share
		if c.Uniform {
			w = c.Writes / float64(c.Keys)
		}
		hold[k] = r / (r + w) * (1 - math.Exp(-(r+w)*channelTTL.Seconds()))
		hits += share * hold[k]
	}
	return hold, hits
}
