package suite

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

const scaleNote = "This section measures the cost of a fleet when nothing happens, and under small loads, from which " +
	"the cost of one change, one event and one fetch follows. The instances are real clients in at most four " +
	"processes, each with a connection of its own to Redis, Postgres and Kafka; the relay is a process of its own, and " +
	"so is the program that writes. The point of 0 instances is the relay alone, and what the servers use by " +
	"themselves.\n\nRedis's commands are the calls in `INFO commandstats`, in which the commands inside scripts count " +
	"too; bytes are its `total_net_input_bytes` and `total_net_output_bytes`. Statements are the calls in " +
	"`pg_stat_statements`, by role. Processor time is from the clocks of the processes, of Postgres with all its " +
	"children. What an instance adds is the difference to the relay alone, divided by the instances; \"all\" marks what " +
	"all use together. Four instances have a " +
	"process each, more share four processes and so their wake-ups. A curve ends where the fleet and its " +
	"servers use nine tenths of the cores, a load is not reached or reads fail; its row says why. Servers have the " +
	"settings of a test bench. With two versions, each point is measured with one and then " +
	"with the other, and the rounds begin with each in turn."

// scaleResults are the results of each version, by its label.
type scaleResults map[string]scaleCurves

// scaleCurves are the windows of a version by point and state. Those of several rounds are averaged.
type scaleCurves map[scalePoint]map[string]*scaleWindow

// scaleMasters is the number of masters in the cluster.
const scaleMasters = 6

// scaleCurve is a fleet in several sizes.
type scaleCurve struct {
	of        scalePoint
	instances []int
}

// scale measures the cost of a fleet as it grows: of the working tree and, if there is one, of an old version.
func scale(ctx context.Context, e *Env) (_ *measure.Section, err error) {
	dir, err := os.MkdirTemp("", "bench-scale-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	versions, err := buildVersions(ctx, e.Repo, e.Old, dir)
	if err != nil {
		return nil, err
	}
	services, err := e.openScaleServices(ctx)
	if err != nil {
		return nil, err
	}
	defer services.close()
	rounds := e.Rounds
	if e.Quick {
		rounds = 1
	}
	curves := []scaleCurve{
		{scalePoint{kafka: true}, e.pick([]int{0, 1, 4, 16, 64, 256}, []int{0, 4})},
		{scalePoint{}, e.pick([]int{0, 4, 64}, []int{0, 4})},
		{scalePoint{masters: scaleMasters}, e.pick([]int{0, 4, 64}, []int{0, 4})},
	}
	for i := range curves {
		curves[i].instances = slices.DeleteFunc(curves[i].instances, func(n int) bool {
			return len(e.Sizes) > 0 && !slices.Contains(e.Sizes, n)
		})
	}
	results := scaleResults{}
	for round := range rounds {
		order := slices.Clone(versions)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, curve := range curves {
			for _, n := range curve.instances {
				p := curve.of
				p.instances = n
				for _, v := range order {
					if err := results.measure(ctx, services, v, p); err != nil {
						return nil, err
					}
				}
			}
		}
	}
	s := &measure.Section{Title: "Scale", Figures: map[string]float64{}, Note: scaleNote,
		Config: fmt.Sprintf("a bound of %v, %d keys of %d bytes, %d of them read; a topic of %d partitions; Postgres "+
			"without fsync; windows of %v; rounds: %d; %d cores", scaleBound, scaleKeys, scaleBody, scaleHot,
			scalePartitions, e.Window, rounds, runtime.NumCPU())}
	s.Tables = scaleTables(versions, results)
	for i, v := range versions {
		prefix := "after: "
		if i < len(versions)-1 {
			prefix = "before: "
		}
		for name, cost := range results[v.label].costs() {
			s.Figures[prefix+name] = cost
		}
	}
	s.Plots = scalePlots(versions, results)
	return s, e.Flush(ctx)
}

// measure measures a point, unless a smaller one of the same curve has ended before anything was read.
func (r scaleResults) measure(ctx context.Context, s *scaleServices, v scaleVersion, p scalePoint) error {
	if r[v.label] == nil {
		r[v.label] = scaleCurves{}
	}
	of := r[v.label]
	for smaller, states := range of {
		if smaller.of(0) == p.of(0) && smaller.instances < p.instances && states[stateIdle].end != "" {
			return nil
		}
	}
	windows, err := s.measureVersion(ctx, v, p)
	if err != nil {
		return fmt.Errorf("%s, %+v: %w", v.label, p, err)
	}
	for _, state := range scaleStates {
		w, ok := windows[state.name]
		if !ok {
			continue
		}
		fmt.Fprintf(s.e.Log, "scale, %s, %+v, %s: %.0f Redis commands/s, cores %.0f%% busy%s\n", v.label, p, state.name,
			w.rates[redisCommands], 100*w.rates[busyCores], prefixed("; ", w.end))
		if of[p] == nil {
			of[p] = map[string]*scaleWindow{}
		}
		of[p][state.name] = of[p][state.name].average(w)
	}
	return nil
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// average adds a round's window to the average of those before it.
func (w *scaleWindow) average(next *scaleWindow) *scaleWindow {
	if w == nil {
		next.rounds = 1
		return next
	}
	n := float64(w.rounds)
	sum := &scaleWindow{rates: w.rates.times(n/(n+1)).plus(1/(n+1), next.rates), rounds: w.rounds + 1, end: w.end}
	if sum.end == "" {
		sum.end = next.end
	}
	return sum
}
