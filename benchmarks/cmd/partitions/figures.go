package main

// window is what was counted before and after a measurement of so many seconds.
type window struct {
	instance, instanceAfter counts
	relay, relayAfter       counts
	broker                  float64 // seconds of its processor
	took                    float64
}

// figures are the lines of the table.
var figures = []struct {
	name string
	of   func(window) float64
}{
	{"instance: connections to Kafka", func(w window) float64 { return w.instanceAfter.Connections }},
	{"instance: fetches a second", func(w window) float64 {
		return (w.instanceAfter.Fetches - w.instance.Fetches) / w.took
	}},
	{"instance: requests a second", func(w window) float64 {
		return (w.instanceAfter.Requests - w.instance.Requests) / w.took
	}},
	{"instance: KiB a second, both ways", func(w window) float64 {
		return (w.instanceAfter.In + w.instanceAfter.Out - w.instance.In - w.instance.Out) / w.took / 1024
	}},
	{"instance: processor, ms a second", func(w window) float64 {
		return (w.instanceAfter.Processor - w.instance.Processor) / w.took * 1000
	}},
	{"relay: connections to Kafka", func(w window) float64 { return w.relayAfter.Connections }},
	{"relay: requests a second", func(w window) float64 { return (w.relayAfter.Requests - w.relay.Requests) / w.took }},
	{"relay: KiB a second, both ways", func(w window) float64 {
		return (w.relayAfter.In + w.relayAfter.Out - w.relay.In - w.relay.Out) / w.took / 1024
	}},
	{"relay: processor, ms a second", func(w window) float64 {
		return (w.relayAfter.Processor - w.relay.Processor) / w.took * 1000
	}},
	{"broker: processor, ms a second", func(w window) float64 { return w.broker / w.took * 1000 }},
	{"delay of an event, p50, ms", func(w window) float64 { return quantile(w.instanceAfter.Delays, 0.5) }},
	{"delay of an event, p99, ms", func(w window) float64 { return quantile(w.instanceAfter.Delays, 0.99) }},
	{"of that until it is sent, p50, ms", func(w window) float64 { return quantile(w.instanceAfter.Sent, 0.5) }},
	{"bound, p50, ms", func(w window) float64 { return quantile(w.instanceAfter.Bounds, 0.5) }},
	{"bound, p99, ms", func(w window) float64 { return quantile(w.instanceAfter.Bounds, 0.99) }},
}

// quantile is that of sorted values, 0 of none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(q*float64(len(sorted)-1))]
}

// point adds up the rounds of a measurement.
type point struct {
	rounds int
	sums   []float64
}

func (p *point) add(round []float64) {
	if p.sums == nil {
		p.sums = make([]float64, len(round))
	}
	p.rounds++
	for i, f := range round {
		p.sums[i] += f
	}
}

// figure is the mean of all rounds.
func (p *point) figure(i int) float64 { return p.sums[i] / float64(p.rounds) }
