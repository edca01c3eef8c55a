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

func (p *relayProgress) read() (leads bool, rounds map[string]time.Time) {
	rounds = map[string]time.Time{}
	families, err := p.reg.Gather()
	if err != nil {
		return false, rounds
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "nearcache_relay_leader":
				leads = m.GetGauge().GetValue() == 1
			case "nearcache_relay_last_success_seconds":
				for _, l := range m.GetLabel() {
					rounds[l.GetValue()] = time.UnixMilli(int64(m.GetGauge().GetValue() * 1000))
				}
			}
		}
	}
	return leads, rounds
}

// check reports a leader whose rounds fail. A relay that does not lead stands by, and nothing is wrong with it.
func (p *relayProgress) check(context.Context) error {
	leads, rounds := p.read()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !leads {
		p.since = time.Time{}
		return nil
	}
	if p.since.IsZero() {
		p.since = time.Now()
	}
	for _, channel := range p.channels {
		last := rounds[channel]
		if p.since.After(last) {
			last = p.since
		}
		if behind := time.Since(last); behind > behindAfter {
			return health.Unready(fmt.Errorf("no round to %s has succeeded for %v", channel, behind.Round(time.Second)))
		}
	}
	return nil
}

func (p *relayProgress) status() map[string]any {
	leads, rounds := p.read()
	last := map[string]string{}
	for channel, t := range rounds {
		last[channel] = t.UTC().Format(time.RFC3339Nano)
	}
	return map[string]any{"leads": leads, "last_success": last}
}
