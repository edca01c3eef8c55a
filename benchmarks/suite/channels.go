package suite

import (
	"context"
	"fmt"
	"runtime"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// channelSweep is a curve: points that differ in one parameter.
type channelSweep struct {
	name, short string
	x           func(channelPoint) float64 // the parameter
	points      []channelPoint
	results     []channelResult
	ends        []string // why the curve, or one of its lines, ended early
}

func channelSweeps(base channelPoint, instances, keys []int, writes []float64) []*channelSweep {
	byInstances := &channelSweep{name: "instances", short: "by instances",
		x: func(c channelPoint) float64 { return float64(c.Instances) }}
	for _, n := range instances {
		c := base
		c.Instances = n
		byInstances.points = append(byInstances.points, c)
	}
	byWrites := &channelSweep{name: "writes/s", short: "by writes", x: func(c channelPoint) float64 { return c.Writes }}
	for _, n := range writes {
		c := base
		c.Writes = n
		byWrites.points = append(byWrites.points, c)
	}
	byKeys := &channelSweep{name: "keys", short: "by keys", x: func(c channelPoint) float64 { return float64(c.Keys) }}
	uniform := &channelSweep{name: "keys", short: "by keys, uniform writes", x: byKeys.x}
	for _, n := range keys {
		c := base
		c.Keys = n
		byKeys.points = append(byKeys.points, c)
		c.Uniform = true
		uniform.points = append(uniform.points, c)
	}
	return []*channelSweep{byInstances, byKeys, uniform, byWrites}
}

const channelNote = "This section measures coherence, so the readers are slow on purpose. Before each point every " +
	"instance reads what it would hold after a long time: each key with the probability that it was read since its " +
	"last write and within its TTL of an hour. Then the same instances are measured in four states: idle; under " +
	"load, when only Redis's tracking informs them of changes; under load, with a rueidis connection beside each " +
	"instance to which Redis sends every change of a record (BCAST, on the prefixes of records); under load, with a " +
	"Kafka follower beside each instance (`kafka.Tail`, all partitions), to which the relay then publishes as " +
	"well.\n\nMessages and bytes are counted, not computed: on the clients' connections, whose answers are parsed to " +
	"find Redis's pushes (a part of the processor time of the processes), and for Kafka as the follower delivers " +
	"messages. Bytes are those of the protocol, without TCP's. A push of tracking has one key; so has one of BCAST, " +
	"unless one command changed several.\n\nRedis deletes a record when a write is relayed, and the next reader " +
	"fills it again. BCAST announces both, and nothing for a key that no one has read since its last write. Tracking " +
	"announces a change to those who have read the key since, or have seen that it is absent; so an instance that " +
	"fills a key is told of its own fill. Kafka carries every write, and ten barriers a second for each " +
	"partition.\n\nProcessor time is from /proc/PID/stat, and everything shares the cores of the machine. Kafka is " +
	"one node whose JVM has the first compiler only. A curve ends where a load is not reached or the cores are " +
	"saturated. The row names the causes, and the plot omits the point."

// channels measures the cost of coherence as instances, keys and writes grow: with tracking, and with two ways to send
// every change to every instance.
func channels(ctx context.Context, e *Env) (*measure.Section, error) {
	base := channelPoint{Instances: 8, Keys: 100_000, Writes: 300}
	sweeps := channelSweeps(base, []int{1, 2, 4, 8, 16, 32, 64}, []int{1_000, 10_000, 100_000, 1_000_000},
		[]float64{10, 100, 300, 1_000, 10_000})
	if e.Quick {
		base = channelPoint{Instances: 4, Keys: 10_000, Writes: 300}
		sweeps = channelSweeps(base, []int{1, 4}, []int{1_000, 10_000}, []float64{30, 300})
	}
	s := &measure.Section{Title: "Channels", Figures: map[string]float64{}, Note: channelNote,
		Config: fmt.Sprintf("%d instances in at most %d processes, %d keys of %d bytes, %.0f reads/s and %.0f writes/s of "+
			"all instances together; each of them varies alone. Reads and writes follow Zipf (1.1) over the same keys, or "+
			"writes are uniform. Another program writes to an outbox and runs its relay, which each commit wakes. The topic "+
			"has %d partitions, the machine %d cores",
			base.Instances, processes, base.Keys, smallValue, channelReads, base.Writes, channelPartitions,
			runtime.NumCPU())}
	known := map[channelPoint]channelResult{}
	for _, sw := range sweeps {
		if err := e.measureSweep(ctx, sw, known); err != nil {
			return nil, err
		}
	}
	if err := e.Flush(ctx); err != nil {
		return nil, err
	}
	for _, sw := range sweeps {
		s.Tables = append(s.Tables, sw.messages(), sw.traffic(), sw.processors())
		s.Note += sw.summary()
	}
	if b := sweeps[0].last(func(r channelResult) *channelWindow { return r.broadcast }); b != nil {
		s.Figures["tracking_over_broadcast"] = b.broadcast.Redis.Messages / b.broadcast.Broadcast.Messages
	}
	s.Plots = channelPlots(sweeps[0], sweeps[1], sweeps[2], sweeps[3])
	return s, nil
}

// measureSweep measures the points of a sweep until its curve ends. known has the results of points that several sweeps
// share.
func (e *Env) measureSweep(ctx context.Context, sw *channelSweep, known map[channelPoint]channelResult) error {
	lines := channelLines{broadcast: true, kafka: true} // those that have not ended
	for _, point := range sw.points {
		r, ok := known[point]
		if !ok || r.lacks(lines) {
			var err error
			if r, err = e.measurePoint(ctx, point, lines); err != nil {
				return fmt.Errorf("%+v: %w", point, err)
			}
			known[point] = r
			fmt.Fprintf(e.Log, "channels, %+v: %.1f pushes/s to an instance, cores %.0f%% busy\n", point,
				r.perInstance(r.tracking.Redis.Messages), 100*r.tracking.busy)
		}
		if !lines.broadcast {
			r.broadcast = nil
		}
		if !lines.kafka {
			r.kafka = nil
		}
		sw.results = append(sw.results, r)
		if sw.ended("tracking", r, r.tracking) {
			break
		}
		lines.broadcast = lines.broadcast && !sw.ended("BCAST", r, r.broadcast)
		lines.kafka = lines.kafka && !sw.ended("Kafka", r, r.kafka)
	}
	return nil
}

// lacks reports whether a line is wanted that was not measured at the point.
func (r *channelResult) lacks(lines channelLines) bool {
	return r.tracking.end == "" && (lines.broadcast && r.broadcast == nil || lines.kafka && r.kafka == nil)
}

// ended reports whether a line ends at a point, and records the reason.
func (sw *channelSweep) ended(line string, r channelResult, w *channelWindow) bool {
	if w == nil || w.end == "" {
		return false
	}
	sw.ends = append(sw.ends, fmt.Sprintf("%s at %s %s: %s", line, round(sw.x(r.point)), sw.name, w.end))
	return true
}

// last is the last result whose point is good on a line.
func (sw *channelSweep) last(line func(channelResult) *channelWindow) *channelResult {
	for i := len(sw.results) - 1; i >= 0; i-- {
		if w := line(sw.results[i]); w != nil && w.end == "" && sw.results[i].tracking.end == "" {
			return &sw.results[i]
		}
	}
	return nil
}

// perInstance divides a figure of all instances.
func (r *channelResult) perInstance(v float64) float64 { return v / float64(r.point.Instances) }
