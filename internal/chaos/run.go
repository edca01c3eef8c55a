//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// Outcome is what came of a run.
type Outcome struct {
	Config  Config
	History *history.History
	Report  *history.Report
	Writes  int // committed
	Took    time.Duration
	// BrokeOff is why the run ended early; nil: it did not.
	BrokeOff error
	// Unrecovered are the faults after which the gate had not opened again in time, with the time it took.
	Unrecovered []string
	// Failed is what else did not hold after a fault.
	Failed []string
	// Audited is how many reads of the bounded cache were compared with the source while it ran, and Differs what lasted
	// for the bound.
	Audited uint64
	Differs []string
}

// recovery bounds the wait for the gate; what takes longer has failed, and the run goes on.
const recovery = 30 * time.Second

// Run makes a run and checks it. The error says why it could not be made or judged; what it found is in the Outcome.
func Run(ctx context.Context, cfg Config) (*Outcome, error) {
	cfg.defaults()
	if cfg.Without != "" && !ablate.Enabled {
		return nil, fmt.Errorf("chaos: rule %q can be taken out only of a binary built with -tags ablate", cfg.Without)
	}
	rnd := rand.New(rand.NewPCG(cfg.Seed, 0))
	next, err := schedule(rnd, cfg)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(cfg.Out, "chaos: SEED=%d DURATION=%v, data in %s\n", cfg.Seed, cfg.Duration, cfg.Dir)
	b, err := newCluster(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer b.close()
	r := &run{cluster: b, rnd: rnd, next: next}
	commits, err := r.injectFaults(ctx)
	if err != nil {
		return nil, err
	}
	b.close()
	return r.judge(commits)
}

// run is a run under way.
type run struct {
	*cluster
	rnd     *rand.Rand
	next    func() fault
	hist    *history.Log // the controller's own: what Redis held, and the writes of faults
	writes  *writeLog
	failed  []string // what did not hold after a fault
	windows []history.Window
	losses  []history.Loss
	began   int64
	took    time.Duration
	broke   error // why the run ended early
}

// injectFaults injects one fault after another until time is up, and returns the ground truth.
func (r *run) injectFaults(ctx context.Context) (commits []history.Commit, err error) {
	r.hist, err = history.Create(filepath.Join(r.cfg.Dir, "000-controller.hist"),
		history.Header{Process: 0, Instance: history.NoInstance})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.hist.Close()) }()
	r.writes = &writeLog{hist: r.hist}
	r.began = r.clock.Now()
	sampling, stop := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() { defer close(sampled); r.sample(sampling) }()
	defer func() { stop(); <-sampled }()
	start := history.Window{Fault: "(start)", From: r.began, Healed: r.began}
	if err := r.recovered(ctx, r.began, recovery); err != nil {
		return nil, err
	}
	start.Recovered = r.clock.Now()
	r.windows = append(r.windows, start)
	end := time.Now().Add(r.cfg.Duration)
	for n := 0; n < r.cfg.Times || r.cfg.Times == 0 && time.Now().Before(end); n++ {
		if pause(ctx, r.cfg.Steady); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := r.injectFault(ctx, r.next()); err != nil {
			// What was recorded so far is judged all the same.
			fmt.Fprintf(r.cfg.Out, "%8.1fs the run breaks off: %v\n", r.since().Seconds(), err)
			r.broke = err
			break
		}
		if err := r.sweep(ctx, r.hist); err != nil {
			// An instance that does not prove the bound is reported as unrecovered; all else is a fault of ours.
			fmt.Fprintf(r.cfg.Out, "%8.1fs no sweep: %v\n", r.since().Seconds(), err)
		}
	}
	pause(ctx, r.cfg.Steady)
	if err := r.command(ctx, "pause", append(r.instances(), "writer")); err != nil {
		return nil, err
	}
	r.took = r.since()
	stop()
	<-sampled
	if commits, err = r.store.commits(ctx); err != nil || r.shop == nil {
		return commits, err
	}
	more, err := r.shop.commits(ctx)
	return append(commits, more...), err
}

func (r *run) since() time.Duration { return time.Duration(r.clock.Now() - r.began) }

// injectFault injects a fault, heals it, and waits until every instance has recovered.
func (r *run) injectFault(ctx context.Context, f fault) error {
	in := &injection{cluster: r.cluster, rnd: rand.New(rand.NewPCG(r.cfg.Seed, uint64(len(r.windows)))), writes: r.writes}
	w := history.Window{Fault: f.name, From: r.clock.Now()}
	note := ""
	if err := f.inject(ctx, in); err == nil {
		in.hold(ctx, f.least+time.Duration(in.rnd.Int64N(int64(f.most-f.least)+1)))
	} else {
		note = fmt.Sprintf(": NOT INJECTED, or in part: %v", err)
	}
	// A fault that was injected in part is healed too.
	if err := in.healAll(ctx); err != nil {
		return fmt.Errorf("chaos: heal %s: %w", f.name, err)
	}
	w.Healed = r.clock.Now()
	w.Patience, w.Congested = in.patience, in.congested
	late := r.recovered(ctx, w.Healed, max(recovery, in.patience))
	w.Recovered = r.clock.Now()
	if len(in.lost) > 0 {
		r.losses = append(r.losses, history.Loss{Commits: in.lost, Until: w.Recovered})
		note = fmt.Sprintf(", %d commits lost", len(in.lost)) + note
	}
	for _, check := range in.checks {
		if err := check(ctx); err != nil {
			r.failed = append(r.failed, fmt.Sprintf("after %s: %v", f.name, err))
			note += ": " + err.Error()
		}
	}
	r.windows = append(r.windows, w)
	if late != nil {
		note += ": NOT RECOVERED"
	}
	fmt.Fprintf(r.cfg.Out, "%8.1fs %s: %v, recovered in %v%s\n", r.since().Seconds(), f.name,
		round(time.Duration(w.Healed-w.From)), round(time.Duration(w.Recovered-w.Healed)), note)
	return ctx.Err()
}

// recovered waits until every instance proves the bound, and serves bounded reads from L1 that began after the heal.
func (r *run) recovered(ctx context.Context, healed int64, patience time.Duration) error {
	return until(ctx, patience, "every instance proves the bound", func() bool {
		now := r.clock.Now()
		for _, name := range r.instances() {
			st := r.member(name).status()
			if st.At <= healed || st.Bounded <= healed || st.Proved == 0 || time.Duration(now-st.Proved) > r.cfg.Bound {
				return false
			}
		}
		return true
	})
}

// judge keeps the truth beside the histories and checks them.
func (r *run) judge(commits []history.Commit) (*Outcome, error) {
	if err := (history.Truth{Commits: commits, Windows: r.windows, Losses: r.losses, Bound: r.cfg.Bound,
		Waiting: waiting}).Save(r.cfg.Dir); err != nil {
		return nil, err
	}
	o, err := judge(r.cfg, r.took)
	if err == nil {
		o.BrokeOff, o.Failed = r.broke, r.failed
		o.Audited, o.Differs = r.audited()
	}
	return o, err
}

// Judge checks the histories of an earlier run again. Nothing is run.
func Judge(cfg Config) (*Outcome, error) {
	cfg.defaults()
	return judge(cfg, 0)
}

func judge(cfg Config, took time.Duration) (*Outcome, error) {
	h, err := history.Load(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if cfg.Source == mariadb { // its versions are ids, of which each key has some
		h.Rank()
	}
	cfg.Bound = h.Bound
	o := &Outcome{Config: cfg, History: h, Took: took}
	for _, c := range h.Commits {
		if c.Write != 0 {
			o.Writes++
		}
	}
	if took == 0 && len(h.Windows) > 0 {
		o.Took = time.Duration(h.Windows[len(h.Windows)-1].Recovered - h.Windows[0].From)
	}
	if o.Report, err = history.Judge(h); err != nil {
		return nil, err
	}
	limit := max(cfg.ReopenWithin, time.Duration(cfg.Reopen*float64(o.Report.Lag.P999)))
	for _, w := range h.Windows[min(1, len(h.Windows)):] {
		if took := time.Duration(w.Recovered - w.Healed); took > max(limit, w.Patience) {
			o.Unrecovered = append(o.Unrecovered,
				fmt.Sprintf("%s: %v, the limit is %v", w.Fault, round(took), round(max(limit, w.Patience))))
		}
	}
	return o, nil
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
