package suite

import (
	"context"
	"fmt"
	"runtime"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// scaleSweep is a curve: cells that differ in one thing.
type scaleSweep struct {
	name, short string
	x           func(scalePoint) float64
	points      []scalePoint
	results     []scaleResult
	ends        []string // why it, or one of its lines, ended early
}

func scaleSweeps(base scalePoint, instances, keys []int, writes []float64) []*scaleSweep {
	byInstances := &scaleSweep{name: "instances", short: "by instances",
		x: func(c scalePoint) float64 { return float64(c.Instances) }}
	for _, n := range instances {
		c := base
		c.Instances = n
		byInstances.points = append(byInstances.points, c)
	}
	byWrites := &scaleSweep{name: "writes/s", short: "by writes", x: func(c scalePoint) float64 { return c.Writes }}
	for _, n := range writes {
		c := base
		c.Writes = n
		byWrites.points = append(byWrites.points, c)
	}
	byKeys := &scaleSweep{name: "keys", short: "by keys", x: func(c scalePoint) float64 { return float64(c.Keys) }}
	alike := &scaleSweep{name: "keys", short: "by keys, all written alike", x: byKeys.x}
	for _, n := range keys {
		c := base
		c.Keys = n
		byKeys.points = append(byKeys.points, c)
		c.Uniform = true
		alike.points = append(alike.points, c)
	}
	return []*scaleSweep{byInstances, byKeys, alike, byWrites}
}

// scale is what coherence costs as instances, keys and writes grow: by tracking, and by telling everybody everything.
func scale(ctx context.Context, e *Env) (*measure.Section, error) {
	base := scalePoint{Instances: 8, Keys: 100_000, Writes: 300}
	sweeps := scaleSweeps(base, []int{1, 2, 4, 8, 16, 32, 64}, []int{1_000, 10_000, 100_000, 1_000_000},
		[]float64{10, 100, 300, 1_000, 10_000})
	if e.Quick {
		base = scalePoint{Instances: 4, Keys: 10_000, Writes: 300}
		sweeps = scaleSweeps(base, []int{1, 4}, []int{1_000, 10_000}, []float64{30, 300})
	}
	s := &measure.Section{Title: "Scale", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances in at most %d processes, %d keys of %d bytes, %.0f reads/s and %.0f writes/s of all together, each swept alone; reads and writes by Zipf (1.1) over the same keys, "+
			"or writes to all keys alike; the writes are another program's, in an outbox whose relay it runs, woken by each commit", base.Instances, processes, base.Keys, smallValue, scaleReads, base.Writes),
		Note: "What is measured is coherence: readers are slow on purpose. Before a cell each instance reads what it would hold after a long time, each key with the probability that it was " +
			"read since its last write and within its TTL of an hour. Then the same instances are measured in four states: idle; with the load, where Redis's tracking alone tells them of changes; with the load and a rueidis " +
			"connection beside each instance that Redis tells of every change of a record (BCAST, on the prefixes of records); with the load and a follower of Kafka beside each instance (`kafka.Tail`, all of " +
			fmt.Sprint(scalePartitions) +
			" partitions), to which the relay then publishes as well. Messages and bytes are counted on the clients' connections, those of Redis's pushes by taking its answers apart, " +
			"which is a part of the processes' processor time, and Kafka's messages as the follower delivers them; none of the three is computed. Bytes are of the protocol, without TCP's. " +
			"A push of tracking has one key; so has one of BCAST unless one command changed several. Redis deletes a record when a write is relayed, and whoever reads it next fills it again: BCAST tells of both, and of no write of a key " +
			"that nobody has read since the write before; tracking tells only those who have read the key since, also that it was absent, so that who fills it hears of its own fill; Kafka carries every write, and a marker a partition ten times a second. " +
			"Processor time is from /proc/PID/stat; all of it is on the same " + fmt.Sprint(runtime.NumCPU()) +
			" cores, Kafka's that of one node whose JVM has the first compiler alone. A curve ends where a load is not reached or the cores are saturated; the row says by whom, and no plot goes there."}
	known := map[scalePoint]scaleResult{}
	for _, sw := range sweeps {
		broadcast, follow := true, true // their lines have not ended
		for _, cell := range sw.points {
			r, ok := known[cell]
			if !ok || r.tracking.end == "" && (broadcast && r.broadcast == nil || follow && r.kafka == nil) {
				var err error
				if r, err = e.measurePoint(ctx, cell, broadcast, follow); err != nil {
					return nil, fmt.Errorf("%+v: %w", cell, err)
				}
				known[cell] = r
				fmt.Fprintf(e.Log, "scale, %+v: %.1f pushes/s to an instance, cores %.0f%% busy\n", cell,
					r.perInstance(r.tracking.Redis.Messages), 100*r.tracking.busy)
			}
			if !broadcast {
				r.broadcast = nil
			}
			if !follow {
				r.kafka = nil
			}
			sw.results = append(sw.results, r)
			if sw.ended("tracking", r, r.tracking) {
				break
			}
			broadcast = broadcast && !sw.ended("BCAST", r, r.broadcast)
			follow = follow && !sw.ended("Kafka", r, r.kafka)
		}
	}
	if err := e.Flush(ctx); err != nil {
		return nil, err
	}
	for _, sw := range sweeps {
		s.Tables = append(s.Tables, sw.messages(), sw.traffic(), sw.processors())
		s.Note += sw.summary()
	}
	if b := sweeps[0].last(func(r scaleResult) *scaleWindow { return r.broadcast }); b != nil {
		s.Figures["tracking_over_broadcast"] = b.broadcast.Redis.Messages / b.broadcast.Broadcast.Messages
	}
	s.Plots = scalePlots(sweeps[0], sweeps[1], sweeps[2], sweeps[3])
	return s, nil
}

// ended notes why a line of a sweep ends at a cell, if it does.
func (sw *scaleSweep) ended(line string, r scaleResult, w *scaleWindow) bool {
	if w == nil || w.end == "" {
		return false
	}
	sw.ends = append(sw.ends, fmt.Sprintf("%s at %s %s: %s", line, round(sw.x(r.point)), sw.name, w.end))
	return true
}

// last is the last cell in which a line has a good point.
func (sw *scaleSweep) last(line func(scaleResult) *scaleWindow) *scaleResult {
	for i := len(sw.results) - 1; i >= 0; i-- {
		if w := line(sw.results[i]); w != nil && w.end == "" && sw.results[i].tracking.end == "" {
			return &sw.results[i]
		}
	}
	return nil
}

// each says how a figure is of one instance.
func (r *scaleResult) perInstance(v float64) float64 { return v / float64(r.point.Instances) }
