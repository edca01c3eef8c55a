package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

const (
	sharedValueBytes = 64
	directPace       = 100 * time.Microsecond
	kafkaPace        = 200 * time.Microsecond
	topicPartitions  = 4
	warmups          = 20 // writes that are not counted
)

const propagationNote = "The goals use the moment at which the last instance began its first read of the new value: " +
	"an upper bound, whose resolution is the interval between reads. The beginning of the last read of an old value " +
	"is a lower bound. Redis's own push is that of the same write, on a plain rueidis connection that tracks the " +
	"key. Kafka's own time is that of a separate message after each commit, with the same acks and fetch settings. " +
	"The goals' ratios divide by one listener, although there are several instances; the last column divides by the " +
	"last of as many listeners as instances. All times come from the one clock of the machine."

// propagationCounts says how many writes of each kind are measured.
type propagationCounts struct{ ours, peers, own, lost, kafka int }

func (n propagationCounts) config() string {
	return fmt.Sprintf("%d instances, each in its own process. An instance reads one key every %v (Kafka: %v), from "+
		"shortly before a write until it holds the new value in L1. One write at a time. "+
		"Direct: another program writes straight to Redis (%d writes for the near cache, %d for each peer); then %d "+
		"writes of another instance, timed from their commit. "+
		"Lost connection: CLIENT KILL of every instance's tracking connection, in one pipeline with the write, %d times. "+
		"Kafka: %d commits in Postgres with the library's trigger; the relay, to Kafka and to Redis, is in the driver's "+
		"process; a topic of %d partitions; instances whose Redis does not answer",
		processes, directPace, kafkaPace, n.ours, n.peers, n.own, n.lost, n.kafka, topicPartitions)
}

// propagation measures the time from a write until no instance serves the old value: through Redis, through Redis when
// the write comes with a lost connection, and through Kafka only. Beside it stands the time that Redis and Kafka need.
func propagation(ctx context.Context, e *Env) (*measure.Section, error) {
	n := propagationCounts{ours: 5000, peers: 3000, own: 1000, lost: 400, kafka: 1500}
	if e.Quick {
		n = propagationCounts{ours: 300, peers: 150, own: 100, lost: 20, kafka: 100}
	}
	s := &measure.Section{Title: "Propagation", Figures: map[string]float64{}, Config: n.config(),
		Note: propagationNote}
	if err := e.directTable(ctx, n, s); err != nil {
		return nil, err
	}
	if err := e.lostConnectionTable(ctx, n.lost, s); err != nil {
		return nil, err
	}
	if err := e.kafkaTables(ctx, n.kafka, s); err != nil {
		return nil, err
	}
	return s, e.Flush(ctx)
}

func (e *Env) directTable(ctx context.Context, n propagationCounts, s *measure.Section) error {
	t := measure.Table{Title: "Directly: from the write until no instance serves the old value",
		Columns: propagationColumns("push")}
	for _, d := range []struct {
		kind string
		n    int
	}{{"nearcache", n.ours}, {"rueidis DoCache", n.peers}, {"go-redis CSC", n.peers}} {
		all, err := e.measureDirect(ctx, d.kind, d.n, foreignWrite)
		if err != nil {
			return fmt.Errorf("%s: %w", d.kind, err)
		}
		base := [2][]float64{column(all, func(s observation) float64 { return s.push }),
			column(all, func(s observation) float64 { return s.pushLast })}
		upper := column(all, observation.upper)
		t.Rows = append(t.Rows, propagationRow(d.kind+": first read of the new value", upper, base),
			propagationRow("  last read of the old value", column(all, observation.lower), base),
			propagationRow("  Redis's push, one listener", base[0], noBase),
			propagationRow("  Redis's push, the last listener (one for each instance)", base[1], noBase))
		if d.kind == "nearcache" {
			s.Figures["direct"] = quantile(upper, 0.99) / quantile(base[0], 0.99)
			s.Figures["direct_p99_ms"] = quantile(upper, 0.99) / 1e6
		}
	}
	own, err := e.measureDirect(ctx, "nearcache", n.own, ownWrite)
	if err != nil {
		return fmt.Errorf("own writes: %w", err)
	}
	t.Rows = append(t.Rows, propagationRow("nearcache, a write of another instance", column(own, observation.upper),
		noBase))
	s.Tables = append(s.Tables, t)
	return nil
}

func (e *Env) lostConnectionTable(ctx context.Context, n int, s *measure.Section) error {
	t := measure.Table{Title: "After a lost connection: from the write until no instance serves the old value",
		Columns: propagationColumns("")[:5]}
	for _, kind := range []string{"nearcache", "rueidis DoCache", "go-redis CSC"} {
		all, err := e.measureDirect(ctx, kind, n, lostConnection)
		switch {
		case errors.Is(err, errNotObserved) && kind != "nearcache":
			unseen := fmt.Sprintf("write %d was not seen within %v", len(all)+1, observeTimeout)
			t.Rows = append(t.Rows, []string{kind, unseen, "", "", ""})
		case err != nil:
			return fmt.Errorf("%s, connections killed: %w", kind, err)
		default:
			upper := column(all, observation.upper)
			t.Rows = append(t.Rows, propagationRow(kind+": first read of the new value", upper, noBase)[:5],
				propagationRow("  last read of the old value", column(all, observation.lower), noBase)[:5])
			if kind == "nearcache" {
				s.Figures["lost_p99_ms"] = quantile(upper, 0.99) / 1e6
			}
		}
	}
	s.Tables = append(s.Tables, t)
	return nil
}

func propagationColumns(of string) []string {
	return []string{"", "p50", "p99", "p99.9", "max", "p50 over the " + of, "p99 over the " + of,
		"p99 over the last listener"}
}

// noBase is the base of a row without ratios.
var noBase [2][]float64

// propagationRow has quantiles of xs and, if there is a base, their ratios to one listener and to the last one.
func propagationRow(name string, xs []float64, base [2][]float64) []string {
	row := []string{name, Nanos(quantile(xs, 0.5)), Nanos(quantile(xs, 0.99)), Nanos(quantile(xs, 0.999)),
		Nanos(quantile(xs, 1)), "", "", ""}
	if base[0] != nil {
		row[5] = fmt.Sprintf("%.2f", quantile(xs, 0.5)/quantile(base[0], 0.5))
		row[6] = fmt.Sprintf("%.2f", quantile(xs, 0.99)/quantile(base[0], 0.99))
		row[7] = fmt.Sprintf("%.2f", quantile(xs, 0.99)/quantile(base[1], 0.99))
	}
	return row
}

// upper is an upper bound of the time until no instance serves the old value.
func (s observation) upper() float64 { return max(s.oldRead, s.newRead) }

// lower is a lower bound of it.
func (s observation) lower() float64 { return s.oldRead }
