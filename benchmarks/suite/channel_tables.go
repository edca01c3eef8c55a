package suite

import (
	"fmt"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// round formats a figure for a table.
func round(v float64) string {
	if v < 10 && v != float64(int(v)) {
		return fmt.Sprintf("%.2g", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// kilo formats bytes as kB.
func kilo(v float64) string { return fmt.Sprintf("%.1f", v/1e3) }

// windowColumn formats a figure of a window, and nothing if there is no window.
type windowColumn = func(*channelWindow, func(*channelWindow) string) string

// rows returns the rows of a table: the parameter of the sweep, and the columns that row returns.
func (sw *channelSweep) rows(row func(r *channelResult, cell windowColumn) []string) (all [][]string) {
	for i := range sw.results {
		r := &sw.results[i]
		all = append(all, append([]string{round(sw.x(r.point))},
			row(r, func(w *channelWindow, f func(*channelWindow) string) string {
				if w == nil {
					return ""
				}
				return f(w)
			})...))
	}
	return all
}

func (sw *channelSweep) messages() measure.Table {
	return measure.Table{Title: "Invalidations, " + sw.short + ": messages and kB per second to each instance",
		Columns: []string{sw.name, "reads/s", "writes/s", "L1 hits", "failed reads", "tracking", "BCAST",
			"keys in them", "Kafka", "events in them", "tracking, kB", "BCAST, kB", "Kafka, kB"},
		Rows: sw.rows(func(r *channelResult, cell windowColumn) []string {
			return []string{round(r.tracking.Reads), round(r.tracking.relayed.redis),
				fmt.Sprintf("%.1f%%", 100*r.tracking.L1Hits/max(1, r.tracking.Reads)), round(r.tracking.Errors),
				round(r.perInstance(r.tracking.Redis.Messages)),
				cell(r.broadcast, func(w *channelWindow) string { return round(r.perInstance(w.Broadcast.Messages)) }),
				cell(r.broadcast, func(w *channelWindow) string { return round(r.perInstance(w.Broadcast.Keys)) }),
				cell(r.kafka, func(w *channelWindow) string { return round(r.perInstance(w.Kafka.Messages)) }),
				cell(r.kafka, func(w *channelWindow) string { return round(r.perInstance(w.Kafka.Keys)) }),
				kilo(r.perInstance(r.tracking.Redis.Pushed)),
				cell(r.broadcast, func(w *channelWindow) string { return kilo(r.perInstance(w.Broadcast.Pushed)) }),
				cell(r.kafka, func(w *channelWindow) string { return kilo(r.perInstance(w.Kafka.In)) })}
		})}
}

func (sw *channelSweep) traffic() measure.Table {
	return measure.Table{Title: "Network, " + sw.short + ": kB per second, of an instance and of the servers",
		Columns: []string{sw.name, "idle: an instance in", "out", "under load: an instance in", "out",
			"Redis commands/s, idle", "under load", "Redis in", "out", "out with BCAST", "Kafka in from the relay",
			"in from followers", "out to followers"},
		Rows: sw.rows(func(r *channelResult, cell windowColumn) []string {
			w := r.tracking
			return []string{kilo(r.perInstance(r.idle.Redis.In)), kilo(r.perInstance(r.idle.Redis.Out)),
				kilo(r.perInstance(w.Redis.In)), kilo(r.perInstance(w.Redis.Out)),
				round(r.idle.redis.commands), round(w.redis.commands), kilo(w.redis.in), kilo(w.redis.out),
				cell(r.broadcast, func(w *channelWindow) string { return kilo(w.redis.out) }),
				cell(r.kafka, func(w *channelWindow) string { return kilo(w.published) }),
				cell(r.kafka, func(w *channelWindow) string { return kilo(w.Kafka.Out) }),
				cell(r.kafka, func(w *channelWindow) string { return kilo(w.Kafka.In) })}
		})}
}

func (sw *channelSweep) processors() measure.Table {
	ms := func(name string) func(*channelWindow) string {
		return func(w *channelWindow) string { return fmt.Sprintf("%.0f", 1000*w.cores[name]) }
	}
	return measure.Table{Title: "Processor time, " + sw.short + ": ms per second",
		Columns: []string{sw.name, "idle: an instance", "Redis", "tracking: an instance", "Redis", ofDriver,
			"cores busy", "with BCAST: an instance", "Redis", "with Kafka: an instance", "Redis", "Kafka", ofDriver,
			"the curve ends here"},
		Rows: sw.rows(func(r *channelResult, cell windowColumn) []string {
			instance := func(w *channelWindow) string {
				return fmt.Sprintf("%.1f",
					1000*r.perInstance(w.cores[ofWorkers]))
			}
			var ends []string
			for i, w := range []*channelWindow{r.tracking, r.broadcast, r.kafka} {
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

// summary describes the sweep in a few sentences.
func (sw *channelSweep) summary() string {
	var b strings.Builder
	all := func(r channelResult) *channelWindow {
		if r.broadcast == nil || r.kafka == nil || r.broadcast.end != "" {
			return nil
		}
		return r.kafka
	}
	if to := sw.last(all); to != nil {
		from := &sw.results[0]
		fmt.Fprintf(&b, "\n\n**%s%s**: from %s to %s %s", strings.ToUpper(sw.short[:1]), sw.short[1:],
			round(sw.x(from.point)), round(sw.x(to.point)), sw.name)
		if from.broadcast != nil && from.kafka != nil {
			fmt.Fprintf(&b, ", an instance receives %s to %s messages per second with tracking, "+
				"%s to %s with BCAST, %s to %s with Kafka",
				round(from.perInstance(from.tracking.Redis.Messages)),
				round(to.perInstance(to.tracking.Redis.Messages)),
				round(from.perInstance(from.broadcast.Broadcast.Messages)),
				round(to.perInstance(to.broadcast.Broadcast.Messages)),
				round(from.perInstance(from.kafka.Kafka.Messages)), round(to.perInstance(to.kafka.Kafka.Messages)))
			fmt.Fprintf(&b, ". Redis uses %.0f to %.0f ms of processor time per second, "+
				"with BCAST %.0f to %.0f; Kafka %.0f to %.0f",
				1000*from.tracking.cores[ofRedis], 1000*to.tracking.cores[ofRedis],
				1000*from.broadcast.cores[ofRedis], 1000*to.broadcast.cores[ofRedis],
				1000*from.kafka.cores[ofKafka], 1000*to.kafka.cores[ofKafka])
		}
		b.WriteString(".")
	}
	for _, end := range sw.ends {
		fmt.Fprintf(&b, "\n\nThe curve %s ends early for %s.", sw.short, end)
	}
	return b.String()
}
