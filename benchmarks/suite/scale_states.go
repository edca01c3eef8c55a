package suite

import "fmt"

// scaleState is a load of the fleet.
type scaleState struct {
	name, title string
	reads       float64 // of each instance per second
	writes      scaleWrites
	relayOnly   bool // a fleet without instances is measured in this state
	withKafka   bool // a fleet with Kafka is measured in this state
	inCluster   bool // a fleet on a cluster is measured in this state
}

// The names of states.
const (
	stateIdle    = "idle"
	stateReading = "reading"
	stateWrites  = "writes"
	stateBulk    = "bulk"
	stateChanged = "changed"
)

// scaleHot is the number of keys that are read, the first ones.
const scaleHot = 100

// scaleStates are the states of a point, in order.
var scaleStates = []scaleState{
	{name: stateIdle, title: "nothing is read or written", relayOnly: true, withKafka: true, inCluster: true},
	{name: stateReading, title: "each instance reads 20 times a second within its bound, from L1", reads: 20,
		withKafka: true, inCluster: true},
	{name: stateWrites, title: "besides, 200 rows/s are written that no instance has read", reads: 20,
		writes:    scaleWrites{rowsPerSecond: 200, rows: 1, first: scaleHot, before: scaleKeys},
		relayOnly: true, withKafka: true},
	{name: stateBulk, title: "instead, 2,000 rows/s are written, by transactions of 100 rows", reads: 20,
		writes:    scaleWrites{rowsPerSecond: 2_000, rows: 100, first: scaleHot, before: scaleKeys},
		relayOnly: true, inCluster: true},
	{name: stateChanged, title: "instead, 20 of the rows are written per second that all instances read", reads: 20,
		writes: scaleWrites{rowsPerSecond: 20, rows: 1, first: 0, before: scaleHot}, withKafka: true},
}

// scaleBulkFollowers is the largest fleet to which Kafka carries changes in bulk.
const scaleBulkFollowers = 16

// fullPart is the part of all cores above which the fleet and its servers have saturated them.
const fullPart = 0.9

// fits reports whether a point is measured in the state. The relay alone is measured in states without readers, and
// with both channels in all of these.
func (s scaleState) fits(p scalePoint) bool {
	if p.masters > 0 && !s.inCluster {
		return false
	}
	if p.instances == 0 {
		return s.relayOnly
	}
	if s.name == stateBulk && p.kafka {
		return p.instances <= scaleBulkFollowers
	}
	return s.withKafka || !p.kafka
}

// reading is the command for the instances.
func (s scaleState) reading() string {
	if s.reads == 0 {
		return "stop"
	}
	return fmt.Sprintf("read %g %d", s.reads, scaleHot)
}

// judge finds out why the curve ends at a window, if it does. Nearly every read of a key that does not change must be a
// hit in L1, or the bound was not proved.
func (s scaleState) judge(r *scaleRun, w *scaleWindow, used cpuUsage) {
	n := float64(r.point.instances)
	var paces []rateCheck
	if n > 0 && s.reads > 0 {
		paces = append(paces, rateCheck{"reads", n * s.reads, w.rates[reads]})
		if s.name != stateChanged {
			paces = append(paces, rateCheck{"hits in L1", w.rates[reads], w.rates[l1Hits]})
		}
	}
	if want := s.writes.rowsPerSecond; want > 0 {
		paces = append(paces, rateCheck{"rows written", want, w.rates[written]},
			rateCheck{"changes relayed to Redis", want, w.rates[relayedRedis]})
		if r.point.kafka {
			paces = append(paces, rateCheck{"changes relayed to Kafka", want, w.rates[relayedKafka]})
		}
	}
	// Other programs may keep the cores busy; the curve ends when the fleet and its servers do.
	used.busy = w.rates[fleetCores]
	if r.s.e.Quick {
		used.busy, paces = 0, nil // a quick run must work on a machine that is busy with other things
	}
	w.end = used.whyCurveEnds(fullPart, paces...)
	if failed := w.rates[failedReads]; failed > 0 && w.end == "" {
		w.end = fmt.Sprintf("%.1f reads/s failed", failed)
	}
}
