package suite

import (
	"context"
	"fmt"
	"runtime"
	"strings"

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

// round is a figure in a table.
func round(v float64) string {
	if v < 10 && v != float64(int(v)) {
		return fmt.Sprintf("%.2g", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// kilo is a number of bytes.
func kilo(v float64) string { return fmt.Sprintf("%.1f", v/1e3) }

// each says how a figure is of one instance.
func (r *scaleResult) perInstance(v float64) float64 { return v / float64(r.point.Instances) }

// rows are those of a table: what is swept, and columns of a window; "" where there is none.
func (sw *scaleSweep) rows(row func(r *scaleResult, cell func(*scaleWindow,
	func(*scaleWindow) string) string) []string) (all [][]string) {
	for i := range sw.results {
		r := &sw.results[i]
		all = append(all, append([]string{round(sw.x(r.point))},
			row(r, func(w *scaleWindow, f func(*scaleWindow) string) string {
				if w == nil {
					return ""
				}
				return f(w)
			})...))
	}
	return all
}

type windowColumn = func(*scaleWindow, func(*scaleWindow) string) string

func (sw *scaleSweep) messages() measure.Table {
	return measure.Table{Title: "Invalidations, " + sw.short + ": messages and kB a second to each instance",
		Columns: []string{sw.name, "reads/s", "writes/s", "near", "failed reads", "tracking", "BCAST",
			"keys in them", "Kafka", "events in them", "tracking, kB", "BCAST, kB", "Kafka, kB"},
		Rows: sw.rows(func(r *scaleResult, cell windowColumn) []string {
			return []string{round(r.tracking.Reads), round(r.tracking.relayed.redis),
				fmt.Sprintf("%.1f%%", 100*r.tracking.NearHits/max(1, r.tracking.Reads)), round(r.tracking.Errors),
				round(r.perInstance(r.tracking.Redis.Messages)),
				cell(r.broadcast, func(w *scaleWindow) string { return round(r.perInstance(w.Broadcast.Messages)) }),
				cell(r.broadcast, func(w *scaleWindow) string { return round(r.perInstance(w.Broadcast.Keys)) }),
				cell(r.kafka, func(w *scaleWindow) string { return round(r.perInstance(w.Kafka.Messages)) }),
				cell(r.kafka, func(w *scaleWindow) string { return round(r.perInstance(w.Kafka.Keys)) }),
				kilo(r.perInstance(r.tracking.Redis.Pushed)),
				cell(r.broadcast, func(w *scaleWindow) string { return kilo(r.perInstance(w.Broadcast.Pushed)) }),
				cell(r.kafka, func(w *scaleWindow) string { return kilo(r.perInstance(w.Kafka.In)) })}
		})}
}

func (sw *scaleSweep) traffic() measure.Table {
	return measure.Table{Title: "Network, " + sw.short + ": kB a second, of an instance and of the servers",
		Columns: []string{sw.name, "idle: an instance in", "out", "loaded: an instance in", "out",
			"Redis commands/s, idle", "loaded", "Redis in", "out", "out with BCAST", "Kafka in from the relay",
			"in from followers", "out to followers"},
		Rows: sw.rows(func(r *scaleResult, cell windowColumn) []string {
			w := r.tracking
			return []string{kilo(r.perInstance(r.idle.Redis.In)), kilo(r.perInstance(r.idle.Redis.Out)),
				kilo(r.perInstance(w.Redis.In)), kilo(r.perInstance(w.Redis.Out)),
				round(r.idle.redis.commands), round(w.redis.commands), kilo(w.redis.in), kilo(w.redis.out),
				cell(r.broadcast, func(w *scaleWindow) string { return kilo(w.redis.out) }),
				cell(r.kafka, func(w *scaleWindow) string { return kilo(w.published) }),
				cell(r.kafka, func(w *scaleWindow) string { return kilo(w.Kafka.Out) }),
				cell(r.kafka, func(w *scaleWindow) string { return kilo(w.Kafka.In) })}
		})}
}

func (sw *scaleSweep) processors() measure.Table {
	ms := func(name string) func(*scaleWindow) string {
		return func(w *scaleWindow) string { return fmt.Sprintf("%.0f", 1000*w.cores[name]) }
	}
	return measure.Table{Title: "Processor time, " + sw.short + ": ms a second",
		Columns: []string{sw.name, "idle: an instance", "Redis", "tracking: an instance", "Redis", ofDriver,
			"cores busy", "with BCAST: an instance", "Redis", "with Kafka: an instance", "Redis", "Kafka", ofDriver,
			"the curve ends here"},
		Rows: sw.rows(func(r *scaleResult, cell windowColumn) []string {
			instance := func(w *scaleWindow) string {
				return fmt.Sprintf("%.1f",
					1000*r.perInstance(w.cores[ofWorkers]))
			}
			var ends []string
			for i, w := range []*scaleWindow{r.tracking, r.broadcast, r.kafka} {
				if w != nil && w.end != "" {
					ends = append(ends, []string{"", "with BCAST: ", "with Kafka: "}[i]+w.end)
				}
			}
			return []string{instance(r.idle), ms(ofRedis)(r.idle), instance(r.tracking), ms(ofRedis)(r.tracking),
				ms(ofDriver)(r.tracking), fmt.Sprintf("%.0f%%", 100*r.tracking.busy),
				cell(r.broadcast, instance), cell(r.broadcast, ms(ofRedis)), cell(r.kafka, instance),
				cell(r.kafka, ms(ofRedis)), cell(r.kafka, ms(ofKafka)), cell(r.kafka, ms(ofDriver)),
				strings.Join(ends, "; ")}
		})}
}

// says is the sweep in a few sentences.
func (sw *scaleSweep) summary() string {
	var b strings.Builder
	all := func(r scaleResult) *scaleWindow {
		if r.broadcast == nil || r.kafka == nil || r.broadcast.end != "" {
			return nil
		}
		return r.kafka
	}
	if to := sw.last(all); to != nil {
		from := &sw.results[0]
		fmt.Fprintf(&b, "\n\n**%s%s** from %s to %s %s", strings.ToUpper(sw.short[:1]), sw.short[1:],
			round(sw.x(from.point)), round(sw.x(to.point)), sw.name)
		if from.broadcast != nil && from.kafka != nil {
			fmt.Fprintf(&b, ", messages a second to an instance go from %s to %s by tracking, %s to %s by BCAST, %s to %s by Kafka",
				round(from.perInstance(from.tracking.Redis.Messages)),
				round(to.perInstance(to.tracking.Redis.Messages)),
				round(from.perInstance(from.broadcast.Broadcast.Messages)),
				round(to.perInstance(to.broadcast.Broadcast.Messages)),
				round(from.perInstance(from.kafka.Kafka.Messages)), round(to.perInstance(to.kafka.Kafka.Messages)))
			fmt.Fprintf(&b, "; Redis's processor time from %.0f to %.0f ms a second, with BCAST from %.0f to %.0f; Kafka's from %.0f to %.0f",
				1000*from.tracking.cores[ofRedis], 1000*to.tracking.cores[ofRedis],
				1000*from.broadcast.cores[ofRedis], 1000*to.broadcast.cores[ofRedis],
				1000*from.kafka.cores[ofKafka], 1000*to.kafka.cores[ofKafka])
		}
		b.WriteString(".")
	}
	for _, end := range sw.ends {
		fmt.Fprintf(&b, "\n\nThe curve %s ends for %s.", sw.short, end)
	}
	return b.String()
}

// line draws a figure of the cells in which it has a good point.
func (sw *scaleSweep) line(name string, of func(*scaleResult) (*scaleWindow, float64)) (l measure.Line) {
	l.Name = name
	for i := range sw.results {
		r := &sw.results[i]
		w, v := of(r)
		if w == nil || w.end != "" || v <= 0 {
			continue // and no logarithm of nothing
		}
		l.At = append(l.At, [2]float64{sw.x(r.point), v})
	}
	return l
}

func scalePlots(instances, keys, alike, writes *scaleSweep) []measure.Plot {
	tracking := func(r *scaleResult) (*scaleWindow, float64) {
		return r.tracking, r.perInstance(r.tracking.Redis.Messages)
	}
	broadcast := func(r *scaleResult) (*scaleWindow, float64) {
		if r.broadcast == nil {
			return nil, 0
		}
		return r.broadcast, r.perInstance(r.broadcast.Broadcast.Messages)
	}
	events := func(r *scaleResult) (*scaleWindow, float64) {
		if r.kafka == nil {
			return nil, 0
		}
		return r.kafka, r.perInstance(r.kafka.Kafka.Messages)
	}
	sent := func(file, x string, sw *scaleSweep) measure.Plot {
		return measure.Plot{File: file, Title: "Invalidations sent to each instance, " + sw.short, X: x,
			Y: "messages/s an instance", LogX: true, LogY: true,
			Lines: []measure.Line{sw.line("tracking (the near cache)", tracking), sw.line("Redis BCAST", broadcast),
				sw.line("Kafka", events)}}
	}
	used := func(name string, of func(*scaleResult) *scaleWindow) func(*scaleResult) (*scaleWindow, float64) {
		return func(r *scaleResult) (*scaleWindow, float64) {
			w := of(r)
			if w == nil {
				return nil, 0
			}
			return w, 1000 * w.cores[name]
		}
	}
	cores := func(file, x string, sw *scaleSweep) measure.Plot {
		t := func(r *scaleResult) *scaleWindow { return r.tracking }
		b := func(r *scaleResult) *scaleWindow { return r.broadcast }
		k := func(r *scaleResult) *scaleWindow { return r.kafka }
		return measure.Plot{File: file, Title: "Processor time, " + sw.short, X: x,
			Y: "ms of processor time a second", LogX: true, LogY: true,
			Lines: []measure.Line{sw.line("all instances", used(ofWorkers, t)), sw.line("Redis", used(ofRedis, t)),
				sw.line("Redis, with BCAST too", used(ofRedis, b)),
				sw.line(ofDriver, used(ofDriver, t)), sw.line("Kafka", used(ofKafka, k)),
				sw.line("all instances, following Kafka too", used(ofWorkers, k))}}
	}
	byKeys := sent("scale-keys", "keys", keys)
	byKeys.Lines = append(byKeys.Lines, alike.line("tracking, all keys written alike", tracking),
		alike.line("Redis BCAST, all keys written alike", broadcast))
	return []measure.Plot{sent("scale-instances", "instances", instances), byKeys,
		sent("scale-writes", "writes/s", writes),
		cores("scale-cpu-instances", "instances", instances), cores("scale-cpu-writes", "writes/s", writes)}
}
