package suite

import "fmt"

// perInstance is what an instance adds to a figure: the difference to the relay alone, divided by the instances. ok is
// false if the point was not measured in the state, or its curve ended there.
func (r scaleCurves) perInstance(p scalePoint, state, name string) (v float64, ok bool) {
	with, without := r.good(p, state), r.good(p.of(0), relayState(state))
	if with == nil || without == nil || p.instances == 0 {
		return 0, false
	}
	return (with.rates[name] - without.rates[name]) / float64(p.instances), true
}

// good returns the window of a point in a state, or nil if there is none or the curve ended there.
func (r scaleCurves) good(p scalePoint, state string) *scaleWindow {
	if w := r[p][state]; w != nil && w.end == "" {
		return w
	}
	return nil
}

// relayState is the state in which the relay alone does what it does in a state of a fleet.
func relayState(state string) string {
	if state == stateReading || state == stateChanged {
		return stateIdle // the few changes are left to the instances
	}
	return state
}

// of is the same fleet with another number of instances.
func (p scalePoint) of(instances int) scalePoint {
	p.instances = instances
	return p
}

// largest is the largest fleet of a curve that was measured well in a state.
func (r scaleCurves) largest(curve scalePoint, state string) (p scalePoint) {
	for q := range r {
		if q.of(0) == curve && q.instances > p.instances && r.good(q, state) != nil {
			p = q
		}
	}
	return p
}

// pointFor is the point that a figure is taken from. What an instance costs the servers is taken from the largest
// fleet, and its own processor time from instances that have a process each, as in production.
func (r scaleCurves) pointFor(curve scalePoint, state, figure string) scalePoint {
	if figure == cpuInstances {
		return curve.of(processes)
	}
	return r.largest(curve, state)
}

// costFigures are the figures of which the costs of an instance and of the relay consist.
var costFigures = []string{redisCommands, redisIn, redisOut, redisConnections, cpuRedis,
	statementsOf(roleInstances), statementsOf(roleRelay), cpuPostgres, postgresConnections, cpuKafka, kafkaIn, kafkaOut,
	relayKafkaOut, cpuInstances, cpuRelay}

// scaleUnits are the curves that unit costs are taken from, with their names.
var scaleUnits = []struct {
	name  string
	curve scalePoint
}{{"both channels", scalePoint{kafka: true}}, {"Redis alone", scalePoint{}},
	{fmt.Sprintf("a cluster of %d masters", scaleMasters), scalePoint{masters: scaleMasters}}}

// channels is the name of the curve of a point.
func (p scalePoint) channels() string {
	for _, u := range scaleUnits {
		if u.curve == p.of(0) {
			return u.name
		}
	}
	panic(fmt.Sprintf("suite: no curve of %+v", p))
}

// costs are the unit costs that the measurements give, by the name of the unit and of the figure. A cost is missing if
// it was not measured.
func (r scaleCurves) costs() map[string]float64 {
	c := map[string]float64{}
	for _, u := range scaleUnits {
		set := func(unit, figure string, v float64) { c[u.name+", "+unit+": "+figure] = v }
		r.relayCosts(u.curve, set)
		for _, figure := range costFigures {
			r.instanceCosts(u.curve, figure, set)
		}
		r.fetchCosts(u.curve, set)
	}
	return c
}

// setCost takes a unit cost.
type setCost func(unit, figure string, v float64)

// relayCosts are those of the relay, idle and for each change. Those of an idle relay contain what idle servers use.
func (r scaleCurves) relayCosts(curve scalePoint, set setCost) {
	idle := r.good(curve, stateIdle)
	if idle == nil {
		return
	}
	for _, figure := range costFigures {
		set("idle relay", figure, idle.rates[figure])
		for state, change := range map[string]string{stateWrites: "a change", stateBulk: "a change in bulk"} {
			if w := r.good(curve, state); w != nil {
				set(change, figure, (w.rates[figure]-idle.rates[figure])/w.rates[written])
			}
		}
	}
}

// instanceCosts are those of an instance, by the second: idle; while it reads within its bound; and what it costs more
// while changes are relayed in every bucket. The last one is also given by the change: with Kafka, it is an event. Few
// changes are told one by one, and many in batches.
func (r scaleCurves) instanceCosts(curve scalePoint, figure string, set setCost) {
	cost := func(state string) (v float64, ok bool) {
		return r.perInstance(r.pointFor(curve, state, figure), state, figure)
	}
	if v, ok := cost(stateIdle); ok {
		set("an idle instance", figure, v)
	}
	reading, ok := cost(stateReading)
	if !ok {
		return
	}
	set("a reading instance", figure, reading)
	for state, change := range map[string]string{stateWrites: "a change for an instance",
		stateBulk: "a change in bulk for an instance"} {
		v, ok := cost(state)
		if !ok {
			continue
		}
		p := r.pointFor(curve, state, figure)
		base, _ := r.perInstance(p, stateReading, figure)
		set(change, figure, (v-base)/r.good(p, state).rates[written])
		if state == stateBulk {
			set("an instance more while every bucket changes", figure, v-base)
		}
	}
}

// fetchCosts are those of a fetch: an instance is told that a key has changed, and reads it again.
func (r scaleCurves) fetchCosts(curve scalePoint, set setCost) {
	for _, figure := range append([]string{pushes, loads}, costFigures...) {
		p := r.pointFor(curve, stateChanged, figure)
		w, before := r.good(p, stateChanged), r.good(p, stateReading)
		if w == nil || before == nil {
			continue
		}
		if fetches := w.fetches() - before.fetches(); fetches > 0 {
			set("a fetch", figure, (w.rates[figure]-before.rates[figure])/fetches)
		}
	}
}

// fetches is the rate of reads that no L1 served.
func (w *scaleWindow) fetches() float64 { return w.rates[reads] - w.rates[l1Hits] }
