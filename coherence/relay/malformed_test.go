package relay_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestRelay_LeavesOutNamespacesThatNoCacheHas: namespace "a:b" with key "k" has in Redis the name of another key. In
// the event channel it is a message that each instance counts as malformed, and a gap.
func TestRelay_LeavesOutNamespacesThatNoCacheHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, red, top := newOutbox(), newRedisFake(), testkit.NewTopic(1)
		var log bytes.Buffer
		reg := prometheus.NewRegistry()
		stop := start(t, relay.Relay{Source: src, Publisher: top, Registerer: reg,
			Logger: slog.New(slog.NewTextHandler(&log, nil))}, red)
		time.Sleep(time.Second)
		for range 3 {
			src.add("before")
			src.Write("a:b", "k", coherence.OpUpdated)
			src.Write("", "k", coherence.OpUpdated)
		}
		src.add("after")
		time.Sleep(time.Second)
		if !red.reached(10) || red.version("before") != 3 || red.version("after") != 1 {
			t.Errorf("versions %d and %d have reached Redis, want 3 and 1; all: %v", red.version("before"),
				red.version("after"), red.reached(10))
		}
		if v := red.applied[keys.Key("a", "b:k").Record]; v != 0 {
			t.Errorf("version %d of another key was applied to key b:k of namespace a", v)
		}
		if got := strings.Join(top.Events(0), " "); got != "before@1 before@2 before@3 after@4" {
			t.Errorf("published: %s", got)
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		counted := map[string]float64{}
		for _, f := range families {
			if f.GetName() == "nearcache_relay_malformed_total" {
				for _, m := range f.GetMetric() {
					counted[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
		if counted["redis"] != 6 || counted["events"] != 6 {
			t.Errorf("counted %v, want 6 for each channel", counted)
		}
		stop()
		if n := strings.Count(log.String(), "no cache can have their namespace"); n != 2 {
			t.Errorf("%d lines in the log, want one for each namespace:\n%s", n, &log)
		}
	})
}
