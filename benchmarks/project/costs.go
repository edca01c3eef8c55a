// Package project works the unit costs that the section "scale" measures out to fleets that no test bench can hold. It
// writes the computed part of docs/internals/scale.md.
package project

import (
	"fmt"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// Costs are unit costs by the name that the section gives them: curve, unit and figure. Processor time is in cores, for
// a unit that exists, or in seconds, for one that happens.
type Costs struct {
	figures map[string]float64
	missing []string // the names that were asked for in vain
}

// The curves of the section.
const (
	bothChannels = "both channels"
	redisAlone   = "Redis alone"
	inCluster    = "a cluster of 6 masters"
)

// measuredMasters is the number of masters of the cluster that was measured.
const measuredMasters = 6

// The units.
const (
	idleRelay       = "idle relay"
	idleInstance    = "an idle instance"
	readingInstance = "a reading instance"
	busyInstance    = "an instance more while every bucket changes"
	change          = "a change in bulk"
	changeAlone     = "a change"
	told            = "a change for an instance"
	toldInBulk      = "a change in bulk for an instance"
	fetch           = "a fetch"
)

// The figures.
const (
	redisCommands  = "redis commands"
	redisOut       = "redis bytes out"
	redisClients   = "redis connections"
	redisCPU       = "processor: Redis"
	postgresCPU    = "processor: Postgres"
	postgresConns  = "postgres connections"
	sourceQueries  = "postgres statements of instances"
	relayQueries   = "postgres statements of relay"
	kafkaCPU       = "processor: Kafka"
	kafkaDelivered = "kafka bytes to the instances"
	kafkaPublished = "kafka bytes from the relay"
	instanceCPU    = "processor: instances"
	relayCPU       = "processor: relay"
)

// Of takes the costs of a version, "before" or "after", out of a section. It returns nil if the section has none.
func Of(s measure.Section, version string) *Costs {
	c := &Costs{figures: map[string]float64{}}
	for name, v := range s.Figures {
		if rest, ok := strings.CutPrefix(name, version+": "); ok {
			c.figures[rest] = v
		}
	}
	if len(c.figures) == 0 {
		return nil
	}
	return c
}

// at returns a cost. Differences of two measurements may be a little below 0 where the cost is nothing.
func (c *Costs) at(curve, unit, figure string) float64 {
	name := curve + ", " + unit + ": " + figure
	v, ok := c.figures[name]
	if !ok {
		c.missing = append(c.missing, name)
	}
	return max(0, v)
}

// err names the costs that were missing.
func (c *Costs) err() error {
	if len(c.missing) == 0 {
		return nil
	}
	return fmt.Errorf("project: the results have no %q: run the section scale again", c.missing)
}
