package relay

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// progress tells how a channel gets on, while it has more before it than it takes at a time: by metrics at each batch,
// and by a log line every few seconds.
type progress struct {
	*relayRun
	channel  string
	at       coherence.Position
	inside   int       // changes relayed of the transaction that at lies in
	began    time.Time // to catch up; zero: there is no more than one batch
	reported time.Time
	relayed  int // since it began to catch up
}

// reportEvery is how often the log tells of progress.
const reportEvery = 5 * time.Second

// note takes a batch that was relayed, up to a position; more says that others follow at once.
func (p *progress) note(ctx context.Context, events []coherence.Event, upto coherence.Position, more bool) {
	p.count(events, upto)
	p.m.transaction.WithLabelValues(p.channel).Set(float64(p.inside))
	if !more {
		p.end()
		return
	}
	if p.began.IsZero() {
		p.began, p.relayed = time.Now(), 0
		p.reported = p.began
	}
	p.relayed += len(events)
	behind := max(0, time.Since(events[len(events)-1].Time))
	p.m.lag.WithLabelValues(p.channel).Set(behind.Seconds())
	if time.Since(p.reported) < reportEvery {
		return
	}
	p.reported = time.Now()
	args := []any{"channel", p.channel, "relayed", p.relayed, "for", time.Since(p.began).Round(time.Second),
		"behind", behind.Round(time.Millisecond), "of_one_transaction", p.inside}
	if e := coherence.AbilitiesOf(p.Source).Estimator; e != nil {
		if left, err := e.EstimateBacklog(ctx, upto); err == nil {
			p.m.lagChanges.WithLabelValues(p.channel).Set(float64(left.Changes))
			args = append(args, "left", left.Changes)
		}
	}
	p.Logger.Info("the relay is catching up", args...)
}

// count keeps how much of one transaction was relayed.
func (p *progress) count(events []coherence.Event, upto coherence.Position) {
	if upto.Part == 0 || upto.Whole() != p.at.Whole() || p.at.Part == 0 {
		p.inside = 0
	}
	p.at = upto
	if upto.Part == 0 {
		return
	}
	for i := len(events) - 1; i >= 0 && !upto.Covers(events[i].Position); i-- {
		p.inside++
	}
}

// end says that nothing is left but what comes from now on.
func (p *progress) end() {
	if !p.began.IsZero() && p.reported.After(p.began) {
		p.Logger.Info("the relay has caught up", "channel", p.channel, "relayed", p.relayed, "for",
			time.Since(p.began).Round(time.Second))
	}
	p.began = time.Time{}
	p.m.lag.WithLabelValues(p.channel).Set(0)
	p.m.lagChanges.WithLabelValues(p.channel).Set(0)
}

// failure tells of what fails again and again: at once, and every minute while it lasts.
type failure struct {
	*relayRun
	channel        string
	since, told    time.Time
	failed, passed string // the log's messages
}

const repeatEvery = time.Minute

func (f *failure) note(err error) {
	if err == nil {
		if !f.since.IsZero() {
			f.Logger.Info(f.passed, "channel", f.channel, "after", time.Since(f.since).Round(time.Second))
			f.since = time.Time{}
		}
		f.m.failing.WithLabelValues(f.channel).Set(0)
		return
	}
	f.m.errors.WithLabelValues(f.channel).Inc()
	if f.since.IsZero() {
		f.since, f.told = time.Now(), time.Time{}
	}
	lasts := time.Since(f.since)
	f.m.failing.WithLabelValues(f.channel).Set(lasts.Seconds())
	if time.Since(f.told) >= repeatEvery {
		f.told = time.Now()
		f.Logger.Warn(f.failed, "channel", f.channel, "for", lasts.Round(time.Second), "error", err)
	}
}
