package relay

import (
	"context"
	"maps"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// measureEvery is how often the source is asked how much each channel lacks.
const measureEvery = 5 * time.Second

// measure keeps the metrics of what is left to do. The rounds cannot: a channel whose rounds fail falls behind all the
// same, and so does one whose round hangs.
func (r *relayRun) measure(ctx context.Context) {
	e := coherence.AbilitiesOf(r.Source).Estimator
	if e == nil {
		return
	}
	for {
		sleep(ctx, measureEvery)
		if ctx.Err() != nil {
			return
		}
		ask, cancel := context.WithTimeout(ctx, relayTimeout)
		r.measureOnce(ask, e)
		cancel()
	}
}

func (r *relayRun) measureOnce(ctx context.Context, e coherence.Estimator) {
	if all, err := e.EstimateBacklog(ctx, coherence.Position{}); err == nil {
		r.m.outbox.Set(float64(all.Changes))
	}
	r.mu.Lock()
	passed := maps.Clone(r.passed)
	r.mu.Unlock()
	for channel, at := range passed {
		if at.IsZero() && channel == "events" { // this term has published nothing yet
			cur, err := r.cursors.LoadCursor(ctx, r.Name)
			if err != nil {
				continue
			}
			at = cur.Position
		}
		if at.IsZero() {
			continue
		}
		left, err := e.EstimateBacklog(ctx, at)
		if err != nil {
			continue // lost changes make the rounds fail, and are told of there
		}
		age := 0.0
		if left.Changes > 0 {
			age = max(0, time.Since(left.Oldest).Seconds())
		}
		r.m.lagChanges.WithLabelValues(channel).Set(float64(left.Changes))
		r.m.lag.WithLabelValues(channel).Set(age)
	}
}
