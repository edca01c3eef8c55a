package suite

import (
	"math"
	"time"
)

// scalePlan is what a worker of a cell is told.
type scaleConfig struct {
	Redis, Kafka, Topic string
	Truth, Prefix       string
	Records             []string // what the Redis keys of records begin with
	Instances           int      // in each process
	Point               scalePoint
}

// scaleCell is a point of the sweeps. Rates are of all instances together.
type scalePoint struct {
	Instances, Keys int
	Writes          float64
	Uniform         bool // of writes: all keys alike; else those are written often that are read often
}

// reads are slow on purpose: what is measured is what coherence costs, and not the readers.
const scaleReads = 2000.0

// scaleTTL is that of every value, and so the longest time for which Redis remembers who has read it.
const scaleTTL = time.Hour

// holding is the probability that an instance holds a key after a long time: that it has read it since the key was last
// written, and within the TTL. hits is the part of reads that find it so.
func (c scalePoint) holding() (hold []float64, hits float64) {
	hold = make([]float64, c.Keys)
	sum := 0.0
	for k := range hold {
		hold[k] = math.Pow(float64(k+1), -zipfS)
		sum += hold[k]
	}
	for k, x := range hold {
		share := x / sum
		r, w := scaleReads/float64(c.Instances)*share, c.Writes*share
		if c.Uniform {
			w = c.Writes / float64(c.Keys)
		}
		hold[k] = r / (r + w) * (1 - math.Exp(-(r+w)*scaleTTL.Seconds()))
		hits += share * hold[k]
	}
	return hold, hits
}
