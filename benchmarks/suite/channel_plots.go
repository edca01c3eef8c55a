package suite

import "github.com/nearcache/nearcache-go/benchmarks/measure"

// line draws a figure at the points that are good.
func (sw *channelSweep) line(name string, of func(*channelResult) (*channelWindow, float64)) (l measure.Line) {
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

func channelPlots(instances, keys, uniform, writes *channelSweep) []measure.Plot {
	tracking := func(r *channelResult) (*channelWindow, float64) {
		return r.tracking, r.perInstance(r.tracking.Redis.Messages)
	}
	broadcast := func(r *channelResult) (*channelWindow, float64) {
		if r.broadcast == nil {
			return nil, 0
		}
		return r.broadcast, r.perInstance(r.broadcast.Broadcast.Messages)
	}
	events := func(r *channelResult) (*channelWindow, float64) {
		if r.kafka == nil {
			return nil, 0
		}
		return r.kafka, r.perInstance(r.kafka.Kafka.Messages)
	}
	sent := func(file, x string, sw *channelSweep) measure.Plot {
		return measure.Plot{File: file, Title: "Invalidations sent to each instance, " + sw.short, X: x,
			Y: "messages/s per instance", LogX: true, LogY: true,
			Lines: []measure.Line{sw.line("tracking (the near cache)", tracking), sw.line("Redis BCAST", broadcast),
				sw.line("Kafka", events)}}
	}
	used := func(name string, of func(*channelResult) *channelWindow) func(*channelResult) (*channelWindow, float64) {
		return func(r *channelResult) (*channelWindow, float64) {
			w := of(r)
			if w == nil {
				return nil, 0
			}
			return w, 1000 * w.cores[name]
		}
	}
	cores := func(file, x string, sw *channelSweep) measure.Plot {
		t := func(r *channelResult) *channelWindow { return r.tracking }
		b := func(r *channelResult) *channelWindow { return r.broadcast }
		k := func(r *channelResult) *channelWindow { return r.kafka }
		return measure.Plot{File: file, Title: "Processor time, " + sw.short, X: x,
			Y: "ms of processor time per second", LogX: true, LogY: true,
			Lines: []measure.Line{sw.line("all instances", used(ofWorkers, t)), sw.line("Redis", used(ofRedis, t)),
				sw.line("Redis, with BCAST", used(ofRedis, b)),
				sw.line(ofDriver, used(ofDriver, t)), sw.line("Kafka", used(ofKafka, k)),
				sw.line("all instances, with Kafka", used(ofWorkers, k))}}
	}
	byKeys := sent("channels-keys", "keys", keys)
	byKeys.Lines = append(byKeys.Lines, uniform.line("tracking, uniform writes", tracking),
		uniform.line("Redis BCAST, uniform writes", broadcast))
	return []measure.Plot{sent("channels-instances", "instances", instances), byKeys,
		sent("channels-writes", "writes/s", writes),
		cores("channels-cpu-instances", "instances", instances), cores("channels-cpu-writes", "writes/s", writes)}
}
