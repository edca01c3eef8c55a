package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

const (
	sharedValueBytes = 64
	directPace       = 100 * time.Microsecond
)

// propagation is the time from a write to the moment from which no instance served the old value: straight through Redis,
// with the instances' connections killed at the write, and through Kafka alone; beside what Redis and Kafka themselves
// take.
func propagation(ctx context.Context, e *Env) (*measure.Section, error) {
	n := e.pick([]int{5000, 3000, 1000, 400, 1500}, []int{300, 150, 100, 20, 100})
	s := &measure.Section{Title: "Propagation", Figures: map[string]float64{},
		Config: fmt.Sprintf("%d instances, each in a process of its own, which reads one key every %v (Kafka: %v) from shortly before a write until the instance holds the new value near; one write at a time. "+
			"Direct: foreign writes straight to Redis (%d for the near cache, %d for each peer), and %d own writes of another instance, from their commit. "+
			"Lost connection: CLIENT KILL of every instance's tracking connection in one pipeline with the write, %d times. "+
			"Kafka: %d commits in Postgres with the library's trigger, relay in the driver's process (to Kafka and to Redis), topic of %d partitions, instances whose Redis does not answer",
			processes, directPace, kafkaPace, n[0], n[1], n[2], n[3], n[4], topicPartitions),
		Note: "The goals' figures take the moment when the last instance's first read of the new value began: an upper bound, whose resolution is the pace. The last read of an old value is a lower one. " +
			"Redis's own push is that of the very same write, on a plain rueidis connection that tracks the key; Kafka's own time is of a message of its own after each commit, with the same acks and the same settings of the fetch. " +
			"Goals' ratios are over one listener, although the instances are several; the last column is over the last of as many listeners. All clocks are the machine's one."}
	t := measure.Table{Title: "Directly, from the write to the last old value", Columns: propagationColumns("push")}
	for _, d := range []struct {
		kind string
		n    int
	}{{"nearcache", n[0]}, {"rueidis DoCache", n[1]}, {"go-redis CSC", n[1]}} {
		all, err := e.measureDirect(ctx, d.kind, d.n, foreignWrite)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.kind, err)
		}
		base := [2][]float64{column(all, func(s observation) float64 { return s.push }),
			column(all, func(s observation) float64 { return s.pushLast })}
		upper := column(all, observation.upper)
		t.Rows = append(t.Rows, propagationRow(d.kind+": first read of the new value", upper, true, base),
			propagationRow("  last read of the old value", column(all,
				func(s observation) float64 { return s.oldRead }), true, base),
			propagationRow("  Redis's push, one listener", base[0], false, base),
			propagationRow("  Redis's push, the last of as many", base[1], false, base))
		if d.kind == "nearcache" {
			s.Figures["direct"] = quantile(upper, 0.99) / quantile(base[0], 0.99)
			s.Figures["direct_p99_ms"] = quantile(upper, 0.99) / 1e6
		}
	}
	own, err := e.measureDirect(ctx, "nearcache", n[2], ownWrite)
	if err != nil {
		return nil, fmt.Errorf("own writes: %w", err)
	}
	t.Rows = append(t.Rows, propagationRow("nearcache, own write of another instance",
		column(own, observation.upper), false, [2][]float64{}))
	s.Tables = append(s.Tables, t)

	lost := measure.Table{Title: "After a lost connection, from the write to the last old value",
		Columns: propagationColumns("")[:5]}
	for _, kind := range []string{"nearcache", "rueidis DoCache", "go-redis CSC"} {
		all, err := e.measureDirect(ctx, kind, n[3], lostConnection)
		switch {
		case errors.Is(err, errNotObserved) && kind != "nearcache":
			lost.Rows = append(lost.Rows, []string{kind, fmt.Sprintf("write %d was not seen within %v", len(all)+1,
				observeTimeout), "", "", ""})
		case err != nil:
			return nil, fmt.Errorf("%s, connections killed: %w", kind, err)
		default:
			lost.Rows = append(lost.Rows, propagationRow(kind+": first read of the new value",
				column(all, observation.upper), false, [2][]float64{})[:5],
				propagationRow("  last read of the old value",
					column(all, func(s observation) float64 { return s.oldRead }), false, [2][]float64{})[:5])
			if kind == "nearcache" {
				s.Figures["lost_p99_ms"] = quantile(column(all, observation.upper), 0.99) / 1e6
			}
		}
	}
	s.Tables = append(s.Tables, lost)
	if err := e.kafkaTables(ctx, n[4], s); err != nil {
		return nil, err
	}
	return s, e.Flush(ctx)
}

func propagationColumns(of string) []string {
	return []string{"", "p50", "p99", "p99.9", "max", "p50 over the " + of, "p99 over the " + of,
		"p99 over the last of as many"}
}

func propagationRow(name string, xs []float64, over bool, base [2][]float64) []string {
	row := []string{name, Nanos(quantile(xs, 0.5)), Nanos(quantile(xs, 0.99)), Nanos(quantile(xs, 0.999)),
		Nanos(quantile(xs, 1)), "", "", ""}
	if over {
		row[5] = fmt.Sprintf("%.2f", quantile(xs, 0.5)/quantile(base[0], 0.5))
		row[6] = fmt.Sprintf("%.2f", quantile(xs, 0.99)/quantile(base[0], 0.99))
		row[7] = fmt.Sprintf("%.2f", quantile(xs, 0.99)/quantile(base[1], 0.99))
	}
	return row
}

// upper is when no instance served the old value any more, at the latest.
func (s observation) upper() float64 { return max(s.oldRead, s.newRead) }

func column(all []observation, f func(observation) float64) []float64 {
	out := make([]float64, len(all))
	for i := range all {
		out[i] = f(all[i])
	}
	return out
}

func quantile(xs []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(xs))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// way is how the key is changed.
type writeKind int

const (
	foreignWrite writeKind = iota
	ownWrite
	lostConnection
)

// direct has n writes come to instances by Redis.
func (e *Env) measureDirect(ctx context.Context, kindName string, n int, by writeKind) (all []observation, err error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := e.dataDir("truth")
	if err != nil {
		return nil, err
	}
	prefix := fmt.Sprintf("s%d", e.names.Add(1))
	key, file := keyName(prefix, 0), filepath.Join(dir, prefix)
	tr, err := openSharedSource(file, 1, sharedValueBytes)
	if err != nil {
		return nil, err
	}
	defer func() { tr.close(); os.Remove(file) }()
	kind, ok := peers.Named[string](kindName)
	if !ok {
		return nil, fmt.Errorf("suite: no peer %q", kindName)
	}
	src := &timedStore{sharedSource: tr}
	own, err := kind.Open(ctx, peers.Config[string]{Redis: addr, Source: src, Codec: peers.Raw{}, Prefix: prefix,
		Entries: 100, Bytes: 1 << 20, TTL: time.Hour})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	set := func(seq uint64) rueidis.Completed {
		atomic.StoreUint64(tr.stored(0), seq)
		name, bytes := own.Stored(key, tr.value(seq), seq)
		return e.foreign.B().Set().Key(name).Value(bytes).Px(time.Hour).Build()
	}
	if err := e.foreign.Do(ctx, set(1)).Error(); err != nil {
		return nil, err
	}
	b, board, err := e.newObservations(processes)
	if err != nil {
		return nil, err
	}
	defer b.close(board)
	push, _ := own.Stored(key, "", 1)
	if by != foreignWrite {
		push = ""
	}
	workers, err := e.startWorkers(ctx, processes, "propagation", func(i int) any {
		return observerConfig{Observations: board, Processes: processes, Process: i, Pace: directPace,
			Prefix: prefix, Redis: addr, Truth: file, Kind: kindName, Push: push}
	})
	if err != nil {
		return nil, err
	}
	defer workers.stop()
	if _, err := b.observe(1, func() (int64, error) { return time.Now().UnixNano(), nil }); err != nil {
		return nil, err
	}
	for seq := uint64(2); len(all) < n; seq++ {
		var kills []rueidis.Completed
		if by == lostConnection {
			if kills, err = e.killTrackingCommands(ctx); err != nil {
				return all, err
			}
		}
		s, err := b.observe(seq, func() (int64, error) {
			if by == ownWrite {
				err := own.Write(ctx, key, tr.value(seq))
				return src.at, err
			}
			cmds := append(kills, set(seq))
			begun := time.Now().UnixNano()
			res := e.foreign.DoMulti(ctx, cmds...)
			return begun, res[len(res)-1].Error()
		})
		if err != nil {
			return all, err
		}
		if seq > warmups || by == lostConnection {
			all = append(all, s)
		}
	}
	return all, workers.run("end")
}

// committing is the truth with one writer, and remembers when it last committed.
type timedStore struct {
	*sharedSource
	at int64
}

// Store implements peers.Source.
func (c *timedStore) Store(_ context.Context, _ string, v string) (uint64, error) {
	seq := sequenceOf(v)
	c.at = time.Now().UnixNano()
	atomic.StoreUint64(c.stored(0), seq)
	return seq, nil
}

// trackingKills end every connection that Redis tracks keys for.
func (e *Env) killTrackingCommands(ctx context.Context) (kills []rueidis.Completed, err error) {
	list, err := e.foreign.Do(ctx, e.foreign.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list) {
		var id, flags string
		for field := range strings.FieldsSeq(line) {
			switch name, v, _ := strings.Cut(field, "="); name {
			case "id":
				id = v
			case "flags":
				flags = v
			}
		}
		if strings.Contains(flags, "t") {
			kills = append(kills, e.foreign.B().Arbitrary("CLIENT", "KILL", "ID", id).Build())
		}
	}
	if len(kills) < processes {
		return nil, fmt.Errorf("suite: Redis tracks keys for %d connections, and there are %d instances",
			len(kills), processes)
	}
	return kills, nil
}
