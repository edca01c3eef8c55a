package suite

// perInstance is what an instance adds to a figure: the difference to the relay alone, divided by the instances. ok is
// false if the point was not measured in the state, or its curve ended there.
func (r scaleCurves) perInstance(p scalePoint, state, name string) (v float64, ok bool) {
	with, without := r.good(p, state), r.good(scalePoint{0, p.kafka}, relayState(state))
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
		return stateIdle // 10 changes per second are left to the instances
	}
	return state
}

// largest is the largest fleet that was measured well in a state.
func (r scaleCurves) largest(kafka bool, state string) (p scalePoint) {
	for q := range r {
		if q.kafka == kafka && q.instances > p.instances && r.good(q, state) != nil {
			p = q
		}
	}
	return p
}

// separate is a fleet of which every instance has a process of its own, as in production.
func separate(kafka bool) scalePoint { return scalePoint{processes, kafka} }

// costFigures are the figures of which the costs of an instance and of the relay consist.
var costFigures = []string{redisCommands, redisIn, redisOut, redisConnections, cpuRedis,
	statementsOf(roleInstances), statementsOf(roleRelay), cpuPostgres, postgresConnections, cpuKafka, kafkaIn, kafkaOut,
	relayKafkaOut, cpuInstances, cpuRelay}

// costs are the unit costs that the measurements give, by the name of the unit and of the figure. A cost is missing if
// it was not measured.
func (r scaleCurves) costs() map[string]float64 {
	c := map[string]float64{}
	for _, kafka := range []bool{true, false} {
		r.relayCosts(kafka, c)
		for _, state := range []string{stateIdle, stateReading} {
			for _, figure := range costFigures {
				if v, ok := r.unit(kafka, state, figure); ok {
					c[channelsOf(kafka)+", "+state+" instance: "+figure] = v
				}
			}
		}
		r.eventCosts(kafka, c)
		r.fetchCosts(kafka, c)
	}
	return c
}

func channelsOf(kafka bool) string {
	if kafka {
		return "both channels"
	}
	return "Redis alone"
}

// unit is what an instance costs in a state. What it costs the servers is taken from the largest fleet, and its own
// processor time from instances that have a process each.
func (r scaleCurves) unit(kafka bool, state, figure string) (float64, bool) {
	if figure == cpuInstances {
		return r.perInstance(separate(kafka), state, figure)
	}
	return r.perInstance(r.largest(kafka, state), state, figure)
}

// relayCosts are those of the relay, idle and for each change. Those of an idle relay contain what idle servers use.
func (r scaleCurves) relayCosts(kafka bool, c map[string]float64) {
	relay := scalePoint{0, kafka}
	idle := r.good(relay, stateIdle)
	if idle == nil {
		return
	}
	for _, figure := range costFigures {
		c[channelsOf(kafka)+", idle relay: "+figure] = idle.rates[figure]
	}
	for state, change := range map[string]string{stateWrites: "a change", stateBulk: "a change in bulk"} {
		w := r.good(relay, state)
		if w == nil {
			continue
		}
		for _, figure := range costFigures {
			c[channelsOf(kafka)+", "+change+": "+figure] = (w.rates[figure] - idle.rates[figure]) / w.rates[written]
		}
	}
}

// eventCosts are what a change costs for each instance that has not read the key: an event of Kafka, if there is one,
// and the bucket whose watermark has moved.
func (r scaleCurves) eventCosts(kafka bool, c map[string]float64) {
	for state, event := range map[string]string{stateWrites: "a change told an instance",
		stateBulk: "a change in bulk told an instance"} {
		for _, figure := range costFigures {
			p := r.largest(kafka, state)
			if figure == cpuInstances {
				p = separate(kafka)
			}
			with, ok := r.perInstance(p, state, figure)
			reading, read := r.perInstance(p, stateReading, figure)
			if ok && read {
				c[channelsOf(kafka)+", "+event+": "+figure] = (with - reading) / r.good(p, state).rates[written]
			}
		}
	}
}

// fetchCosts are those of a fetch: an instance is told that a key has changed, and reads it again.
func (r scaleCurves) fetchCosts(kafka bool, c map[string]float64) {
	for _, figure := range append([]string{pushes, loads}, costFigures...) {
		p := r.largest(kafka, stateChanged)
		if figure == cpuInstances {
			p = separate(kafka)
		}
		w, before := r.good(p, stateChanged), r.good(p, stateReading)
		if w == nil || before == nil {
			continue
		}
		fetches := w.rates[reads] - w.rates[l1Hits] - (before.rates[reads] - before.rates[l1Hits])
		if fetches > 0 {
			c[channelsOf(kafka)+", a fetch: "+figure] = (w.rates[figure] - before.rates[figure]) / fetches
		}
	}
}
