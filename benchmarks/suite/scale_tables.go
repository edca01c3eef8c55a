package suite

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// scaleColumn is a column of the tables of a state. An instance's figures are per instance, the others of all.
type scaleColumn struct {
	title   string
	figure  string
	scale   float64 // that the figure is multiplied with; 1000 makes milliseconds of cores
	fleetOf bool    // the figure is that of the whole fleet, and not what one instance adds
}

var scaleColumns = []scaleColumn{
	{"Redis commands/s", redisCommands, 1, false},
	{"kB/s to Redis", redisIn, 1e-3, false},
	{"kB/s from Redis", redisOut, 1e-3, false},
	{"Redis connections", redisConnections, 1, false},
	{"statements/s", statementsOf(roleInstances), 1, false},
	{"kB/s from Kafka", kafkaIn, 1e-3, false},
	{"own ms/s", cpuInstances, 1000, false},
	{"Redis ms/s", cpuRedis, 1000, false},
	{"Kafka ms/s", cpuKafka, 1000, false},
	{"Postgres ms/s", cpuPostgres, 1000, false},
	{"bound that the worst can prove, ms", proved, 1000, true},
	{"all: Redis commands/s", redisCommands, 1, true},
	{"all: relay ms/s", cpuRelay, 1000, true},
	{"all: Redis ms/s", cpuRedis, 1000, true},
	{"all: Kafka ms/s", cpuKafka, 1000, true},
	{"all: Postgres ms/s", cpuPostgres, 1000, true},
	{"cores used, %", fleetCores, 100, true},
	{"by others too, %", busyCores, 100, true},
}

// scaleTables are a table for each curve and state, and one of the relay alone.
func scaleTables(versions []scaleVersion, results scaleResults) (all []measure.Table) {
	all = append(all, relayTable(versions, results))
	for _, u := range scaleUnits {
		for _, state := range scaleStates {
			if state.fits(u.curve.of(1)) {
				all = append(all, stateTable(versions, results, state, u.curve))
			}
		}
	}
	return all
}

func stateTable(versions []scaleVersion, results scaleResults, state scaleState, curve scalePoint) measure.Table {
	t := measure.Table{Title: capital(curve.channels()) + ": " + state.title, Columns: []string{"instances", "version"}}
	for _, c := range scaleColumns {
		t.Columns = append(t.Columns, c.title)
	}
	if state.name == stateChanged {
		t.Columns = append(t.Columns, "all: fetches/s", "all: pushes/s", "loads/s")
	}
	t.Columns = append(t.Columns, "the commands of an instance", "the curve ends here")
	for _, p := range points(results, curve) {
		for _, v := range versions {
			if w := results[v.label][p][state.name]; w != nil && p.instances > 0 {
				t.Rows = append(t.Rows, results[v.label].stateRow(v.label, p, state.name, w))
			}
		}
	}
	return t
}

func (r scaleCurves) stateRow(label string, p scalePoint, state string, w *scaleWindow) []string {
	row := []string{fmt.Sprint(p.instances), label}
	alone := r.good(p.of(0), relayState(state))
	for _, c := range scaleColumns {
		v, ok := w.rates[c.figure]
		if len(w.rates) == 0 || c.fleetOf && !ok || !c.fleetOf && alone == nil {
			row = append(row, "")
			continue
		}
		if !c.fleetOf {
			v = (v - alone.rates[c.figure]) / float64(p.instances)
		}
		row = append(row, round(c.scale*v))
	}
	if state == stateChanged && len(w.rates) > 0 {
		row = append(row, round(w.fetches()), round(w.rates[pushes]), round(w.rates[loads]))
	}
	commands := ""
	if alone != nil && len(w.rates) > 0 {
		commands = w.rates.plus(-1, alone.rates).busiestCommands(float64(p.instances))
	}
	return append(row, commands, w.end)
}

// relayTable is that of the fleets without instances.
func relayTable(versions []scaleVersion, results scaleResults) measure.Table {
	t := measure.Table{Title: "The relay alone, and what the servers use beside it", Columns: []string{"channels",
		"load", "version", "rows written/s", "Redis commands/s", "statements/s of the relay", "relay ms/s", "Redis ms/s",
		"Kafka ms/s", "Postgres ms/s", "kB/s to Redis", "kB/s from Redis", "kB/s to Kafka", "its commands",
		"the curve ends here"}}
	for _, u := range scaleUnits {
		p := u.curve
		for _, state := range scaleStates {
			for _, v := range versions {
				w := results[v.label][p][state.name]
				if w == nil {
					continue
				}
				row := []string{u.name, state.name, v.label, round(w.rates[written])}
				for _, c := range []scaleColumn{{figure: redisCommands, scale: 1}, {figure: statementsOf(roleRelay), scale: 1},
					{figure: cpuRelay, scale: 1e3}, {figure: cpuRedis, scale: 1e3}, {figure: cpuKafka, scale: 1e3},
					{figure: cpuPostgres, scale: 1e3}, {figure: redisIn, scale: 1e-3}, {figure: redisOut, scale: 1e-3},
					{figure: relayKafkaOut, scale: 1e-3}} {
					row = append(row, round(c.scale*w.rates[c.figure]))
				}
				t.Rows = append(t.Rows, append(row, w.rates.busiestCommands(1), w.end))
			}
		}
	}
	return t
}

// points are the points of a curve that any version was measured at, the smallest first.
func points(results scaleResults, curve scalePoint) []scalePoint {
	seen := map[scalePoint]bool{}
	for _, curves := range results {
		for p := range curves {
			if p.of(0) == curve {
				seen[p] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b scalePoint) int { return a.instances - b.instances })
}

// scalePlots draw the cost of an instance.
func scalePlots(versions []scaleVersion, results scaleResults) []measure.Plot {
	plot := func(file, title, y, figure string, scale float64) measure.Plot {
		p := measure.Plot{File: file, Title: title, X: "instances", Y: y, LogX: true, LogY: true}
		for _, state := range []string{stateIdle, stateReading} {
			for _, v := range versions {
				l := measure.Line{Name: state + ", " + v.label}
				for _, at := range points(results, scalePoint{kafka: true}) {
					if cost, ok := results[v.label].perInstance(at, state, figure); ok && cost > 0 {
						l.At = append(l.At, [2]float64{float64(at.instances), scale * cost})
					}
				}
				p.Lines = append(p.Lines, l)
			}
		}
		return p
	}
	return []measure.Plot{
		plot("scale-commands", "Redis commands of an instance, both channels", "commands/s", redisCommands, 1),
		plot("scale-processor", "Processor time of an instance, both channels", "ms per second", cpuInstances, 1000),
		plot("scale-redis", "Processor time of Redis for an instance, both channels", "ms per second", cpuRedis, 1000)}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
