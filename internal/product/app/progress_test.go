package app

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestRelayProgress_ReportsATrimThatFails: the outbox grows for ever, and no round of a channel fails.
func TestRelayProgress_ReportsATrimThatFails(t *testing.T) {
	failing := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nearcache_relay_failing_seconds"}, []string{"channel"})
	p := &relayProgress{reg: prometheus.NewRegistry()}
	p.reg.MustRegister(failing)
	for seconds, fails := range map[float64]bool{0: false, 30: false, 90: true} {
		failing.WithLabelValues("trim").Set(seconds)
		failing.WithLabelValues("redis").Set(300) // relay_behind reports that
		if err := p.checkTrim(t.Context()); (err != nil) != fails {
			t.Errorf("after %v seconds: %v", seconds, err)
		}
	}
}
