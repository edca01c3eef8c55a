package suite

import (
	"cmp"
	"slices"
	"strings"
)

// rates are figures by name: totals, or rates per second. A name that is missing is 0.
type rates map[string]float64

// The names of rates. Those of processor time are in cores.
const (
	redisCommands = "redis commands" // those inside scripts count too
	redisIn       = "redis bytes in"
	redisOut      = "redis bytes out"

	postgresCommits = "postgres commits"

	reads         = "reads"
	failedReads   = "failed reads"
	l1Hits        = "hits in L1"
	loads         = "loads"
	pushes        = "pushes"
	events        = "events"
	relayedRedis  = "changes relayed to Redis"
	relayedKafka  = "changes relayed to Kafka"
	kafkaIn       = "kafka bytes to the instances"
	kafkaOut      = "kafka bytes from the instances"
	relayKafkaOut = "kafka bytes from the relay"
	written       = "rows written"

	cpuInstances = "processor: instances"
	cpuRelay     = "processor: relay"
	cpuRedis     = "processor: Redis"
	cpuPostgres  = "processor: Postgres"
	cpuKafka     = "processor: Kafka"
	cpuWriter    = "processor: writer"
)

// The names of gauges, of which a window has the last value.
const (
	redisConnections    = "redis connections"
	postgresConnections = "postgres connections"
	proved              = "bound that the worst instance can prove, s"
	busyCores           = "busy part of all cores"
	fleetCores          = "part of all cores that the fleet and its servers use"
)

var gauges = []string{redisConnections, postgresConnections, proved, busyCores, fleetCores}

// plus returns r + f*other.
func (r rates) plus(f float64, other rates) rates {
	sum := rates{}
	for name, v := range r {
		sum[name] = v
	}
	for name, v := range other {
		sum[name] += f * v
	}
	return sum
}

// times returns f*r.
func (r rates) times(f float64) rates { return rates{}.plus(f, r) }

// perSecond returns the rates between two samples of totals.
func (r rates) perSecond(later rates, seconds float64) rates {
	out := later.plus(-1, r).times(1 / seconds)
	for _, name := range gauges {
		if v, ok := later[name]; ok {
			out[name] = v
		}
	}
	return out
}

// busiestCommands lists the Redis commands that are sent most, with their rates divided by n.
func (r rates) busiestCommands(n float64) string {
	type use struct {
		command string
		rate    float64
	}
	var all []use
	for name, v := range r {
		if command, ok := strings.CutPrefix(name, "redis command "); ok && v/n >= 0.05 {
			all = append(all, use{command, v / n})
		}
	}
	slices.SortFunc(all, func(a, b use) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), cmp.Compare(a.command, b.command))
	})
	var out []string
	for _, u := range all[:min(4, len(all))] {
		out = append(out, strings.ToUpper(u.command)+" "+round(u.rate))
	}
	return strings.Join(out, ", ")
}
