package app

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/product/health"
)

// behindAfter is how long a relay may go without a round that succeeds. A round is due at every heartbeat.
const behindAfter = 10 * time.Second

// relayProgress reads from a relay's metrics whether it leads, and when its last rounds succeeded.
type relayProgress struct {
	reg      *prometheus.Registry
	channels []string // that it carries to; one without any round yet has no metric

	mu    sync.Mutex
	since time.Time // since when it leads
}

// relayState is what the metrics tell.
type relayState struct {
	leads      bool
	rounds     map[string]time.Time     // when the last one succeeded, by channel
	failing    map[string]time.Duration // for how long every attempt has failed, by channel
	backlog    map[string]float64       // about how many changes are left, by channel
	unfinished map[string]float64       // changes relayed of the transaction at work, by channel
}

func (p *relayProgress) read() relayState {
	s := relayState{rounds: map[string]time.Time{}, failing: map[string]time.Duration{},
		backlog: map[string]float64{}, unfinished: map[string]float64{}}
	families, err := p.reg.Gather()
	if err != nil {
		return s
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			channel, v := "", m.GetGauge().GetValue()
			for _, l := range m.GetLabel() {
				channel = l.GetValue()
			}
			switch f.GetName() {
			case "nearcache_relay_leader":
				s.leads = v == 1
			case "nearcache_relay_last_success_timestamp_seconds":
				s.rounds[channel] = time.UnixMilli(int64(v * 1000))
			case "nearcache_relay_failing_seconds":
				s.failing[channel] = time.Duration(v * float64(time.Second))
			case "nearcache_relay_lag_changes":
				s.backlog[channel] = v
			case "nearcache_relay_transaction_changes":
				s.unfinished[channel] = v
			}
		}
	}
	return s
}

// check reports a leader whose rounds fail. A relay that does not lead stands by, and nothing is wrong with it.
func (p *relayProgress) check(context.Context) error {
	now := p.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !now.leads {
		p.since = time.Time{}
		return nil
	}
	if p.since.IsZero() {
		p.since = time.Now()
	}
	for _, channel := range p.channels {
		last := now.rounds[channel]
		if p.since.After(last) {
			last = p.since
		}
		if behind := time.Since(last); behind > behindAfter {
			return health.Unready(fmt.Errorf("no round to %s has succeeded for %v", channel, behind.Round(time.Second)))
		}
	}
	return nil
}

// checkTrim reports old changes that cannot be dropped.
func (p *relayProgress) checkTrim(context.Context) error {
	if lasts := p.read().failing["trim"]; lasts > time.Minute {
		return fmt.Errorf("old changes cannot be dropped for %v, and the outbox grows; the log says why",
			lasts.Round(time.Second))
	}
	return nil
}

func (p *relayProgress) status() map[string]any {
	now := p.read()
	last := map[string]string{}
	for channel, t := range now.rounds {
		last[channel] = t.UTC().Format(time.RFC3339Nano)
	}
	return map[string]any{"leads": now.leads, "last_success": last, "backlog_changes": now.backlog,
		"transaction_changes": now.unfinished}
}
