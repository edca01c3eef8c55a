package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/benchmarks/fleet"
)

// scaleBound is the bound of every cache of the fleet.
const scaleBound = 250 * time.Millisecond

const scalePartitions = 4 // of the topic

// scalePoint is a size of the fleet. Without Kafka, Redis is the only channel. masters is that of a cluster; 0 is one
// server without a cluster.
type scalePoint struct {
	instances int
	kafka     bool
	masters   int
}

// scaleRun is the measurement of one point of one version.
type scaleRun struct {
	s        *scaleServices
	point    scalePoint
	redis    *scaleRedis
	database string
	relay    *workerGroup
	fleet    *workerGroup // nil without instances
	writer   scaleWriter
	pids     map[string][]int
	cleanups
}

// measureVersion measures a point of a version in one state after the other. It stops if the fleet cannot even be
// idle, or read.
func (s *scaleServices) measureVersion(ctx context.Context, v scaleVersion, point scalePoint) (
	all map[string]*scaleWindow, err error) {
	r := &scaleRun{s: s, point: point}
	defer func() { err = errors.Join(err, r.close()) }()
	all = map[string]*scaleWindow{}
	if err := r.open(ctx, v); errors.Is(err, fleet.ErrNotReady) {
		all[stateIdle] = &scaleWindow{rates: rates{}, end: "not every instance was ready within a minute"}
		return all, nil
	} else if err != nil {
		return nil, err
	}
	for _, state := range scaleStates {
		if !state.fits(point) {
			continue
		}
		w, err := r.measure(ctx, state)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", state.name, err)
		}
		all[state.name] = w
		if w.end != "" && state.writes.rows == 0 {
			break
		}
	}
	return all, nil
}

func (r *scaleRun) open(ctx context.Context, v scaleVersion) (err error) {
	e := r.s.e
	if r.redis, err = r.s.redis(ctx, r.point); err != nil {
		return err
	}
	if err := r.redis.flush(ctx); err != nil {
		return err
	}
	if r.database, err = r.s.database(ctx); err != nil {
		return err
	}
	r.add(func() error { return r.s.dropDatabase(context.WithoutCancel(ctx), r.database) })
	c := fleet.Config{Redis: r.redis.address(), Prefix: r.database, Topic: r.database, Partitions: scalePartitions,
		Bound: scaleBound}
	if r.point.kafka {
		c.Kafka = r.s.kafka
	}
	relay := c
	relay.Postgres = r.s.url(r.database, roleRelay)
	if r.relay, err = startProgram(ctx, e, v.program, "relay", relay); err != nil {
		return err
	}
	r.add(noError(r.relay.stop))
	r.pids = map[string][]int{cpuRedis: r.redis.pids(), cpuKafka: {e.kafka.Pid()}, cpuWriter: {os.Getpid()},
		cpuRelay: r.relay.pids()}
	if n := r.point.instances; n > 0 {
		c.Postgres = r.s.url(r.database, roleInstances)
		each := make([]any, min(processes, n))
		for i := range each {
			c.Instances = n / len(each)
			each[i] = c
		}
		if r.fleet, err = startProgram(ctx, e, v.program, "instances", each...); err != nil {
			return err
		}
		r.add(noError(r.fleet.stop))
		r.pids[cpuInstances] = r.fleet.pids()
	}
	if r.writer.pool, err = pgxpool.New(ctx, r.s.url(r.database, roleWriter)); err != nil {
		return err
	}
	r.add(noError(r.writer.pool.Close))
	return nil
}

// startProgram starts a process of a program for each configuration and returns when all are ready.
func startProgram(ctx context.Context, e *Env, program, role string, configs ...any) (*workerGroup, error) {
	return e.startProgram(ctx, program, len(configs), role, func(i int) any { return configs[i] })
}

// sample reads all counters. Those of the processes are last, because reading them costs the processes time.
func (r *scaleRun) sample(ctx context.Context) (totals rates, cpu cpuReadings, err error) {
	totals = rates{written: float64(r.writer.written.Load())}
	if cpu, err = readClocks(r.pids, map[string]int{cpuPostgres: r.s.postgres.Pid()}); err != nil {
		return nil, cpu, err
	}
	if err := r.redis.sample(ctx, totals); err != nil {
		return nil, cpu, err
	}
	if err := r.s.samplePostgres(ctx, r.database, totals); err != nil {
		return nil, cpu, err
	}
	var relay []fleet.Counts
	if err := r.relay.collect("count", &relay); err != nil {
		return nil, cpu, err
	}
	totals[relayedRedis], totals[relayedKafka] = relay[0].ToRedis, relay[0].ToKafka
	totals[relayKafkaOut] = relay[0].KafkaOut
	if r.fleet == nil {
		return totals, cpu, nil
	}
	var all []fleet.Counts
	if err := r.fleet.collect("count", &all); err != nil {
		return nil, cpu, err
	}
	c := all[0]
	for _, d := range all[1:] {
		c = c.Plus(d)
	}
	for name, v := range map[string]float64{reads: c.Reads, failedReads: c.Errors, l1Hits: c.L1Hits, loads: c.Loads,
		pushes: c.Pushes, events: c.Events, kafkaIn: c.KafkaIn, kafkaOut: c.KafkaOut, proved: c.Proved} {
		totals[name] = v
	}
	return totals, cpu, nil
}

// scaleWindow is the result of one state: rates per second of the whole fleet.
type scaleWindow struct {
	rates  rates
	end    string // why the curve ends here; "" if it does not
	rounds int    // of which these are the averages
}

// measure brings the fleet into a state and counts for a while.
func (r *scaleRun) measure(ctx context.Context, state scaleState) (w *scaleWindow, err error) {
	if r.fleet != nil {
		if err := r.fleet.run(state.reading()); err != nil {
			return nil, err
		}
	}
	if state.writes.rows > 0 {
		stop := r.writer.run(ctx, state.writes)
		defer func() { err = errors.Join(err, stop()) }()
	}
	settle, window := time.Second, r.s.e.Window
	if r.s.e.Quick {
		settle, window = time.Second, time.Second
	}
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	before, from, err := r.sample(ctx)
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, window); err != nil {
		return nil, err
	}
	after, to, err := r.sample(ctx)
	if err != nil {
		return nil, err
	}
	w = &scaleWindow{rates: before.perSecond(after, to.at.Sub(from.at).Seconds())}
	used := from.usageUntil(to)
	for name, cores := range used.cores {
		w.rates[name] = cores
		if name != otherPrograms {
			w.rates[fleetCores] += cores / float64(runtime.NumCPU())
		}
	}
	w.rates[busyCores] = used.busy
	state.judge(r, w, used)
	return w, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
