package suite

import "github.com/nearcache/nearcache-go/benchmarks/measure"

// line draws a figure at the points that are good.
func (sw *scaleSweep) line(name string, of func(*scaleResult) (*scaleWindow, float64)) (l measure.Line) {
	l.Name = name
	for i := range sw.results {
		r := &sw.results[i]
		w, v := of(r)
		if w == nil || w.end != "" || v <= 0 {
			continue // the axes are logarithmic
		}
		l.At = append(l.At, [2]float64{sw.x(r.point), v})
	}
	return l
}

func scalePlots(instances, keys, uniform, writes *scaleSweep) []measure.Plot {
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
			Y: "messages/s per instance", LogX: true, LogY: true,
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
			Y: "ms of processor time per second", LogX: true, LogY: true,
			Lines: []measure.Line{sw.line("all instances", used(ofWorkers, t)), sw.line("Redis", used(ofRedis, t)),
				sw.line("Redis, with BCAST", used(ofRedis, b)),
				sw.line(ofDriver, used(ofDriver, t)), sw.line("Kafka", used(ofKafka, k)),
				sw.line("all instances, with Kafka", used(ofWorkers, k))}}
	}
	byKeys := sent("scale-keys", "keys", keys)
	byKeys.Lines = append(byKeys.Lines, uniform.line("tracking, uniform writes", tracking),
		uniform.line("Redis BCAST, uniform writes", broadcast))
	return []measure.Plot{sent("scale-instances", "instances", instances), byKeys,
		sent("scale-writes", "writes/s", writes),
		cores("scale-cpu-instances", "instances", instances), cores("scale-cpu-writes", "writes/s", writes)}
}
