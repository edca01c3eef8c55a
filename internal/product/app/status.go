package app

import (
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/internal/product/health"
	"github.com/nearcache/nearcache-go/nearcache"
)

// statusOf is what a product server says of its caches at /status: what is connected, and what bound is in force by
// which channel. Times are in seconds; 0 says that nothing is proved.
func statusOf(s nearcache.Status, embedded bool) map[string]any {
	c := s.Caches[product.Namespace]
	sec := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }
	services := "configured"
	if embedded {
		services = "embedded"
	}
	return map[string]any{
		"services":                   services,
		"mode":                       s.Mode.String(),
		"redis_connected":            s.Redis,
		"events_followed":            s.Events,
		"channels_ready":             s.Ready,
		"invalidations_pending":      s.Pending,
		"proved_staleness":           sec(s.Bound.Staleness),
		"proved_by":                  s.Bound.Channel,
		"sampled_by":                 s.Bound.SampledBy,
		"proved_staleness_by_redis":  sec(s.Bound.Redis),
		"proved_staleness_by_events": sec(s.Bound.Events),
		"max_staleness":              sec(c.MaxStaleness),
		"slack":                      sec(c.Slack),
		"gate_open":                  c.Open,
		"redis_sessions":             s.Channels.RedisSessions,
		"event_sessions":             s.Channels.EventSessions,
		"audit":                      auditOf(&c.Audit),
	}
}

// reasonsOf are the reasons that the client gives. None makes an instance unready: whatever the caches lack is read
// from the database.
func reasonsOf(s nearcache.Status) []health.Reason {
	reasons := make([]health.Reason, 0, len(s.Reasons))
	for _, r := range s.Reasons {
		reasons = append(reasons, health.Reason{Code: r.Code, Detail: r.Message, Since: r.Since})
	}
	return reasons
}

// auditOf is what the auditor has found, nil without one. consistent_within has the lower end of the share that was
// consistent, with 95% confidence, by scale.
func auditOf(a *nearcache.AuditStatus) map[string]any {
	if !a.On {
		return nil
	}
	within := map[string]float64{}
	for _, s := range a.Scales {
		within[s.Within.String()] = s.Low
	}
	out := map[string]any{"reads": a.Reads, "undecided": a.Undecided, "inconsistent": a.Inconsistent,
		"wait": a.Wait.Seconds(), "consistent_within": within}
	if len(a.Differences) > 0 {
		d := &a.Differences[0]
		out["first_difference"] = map[string]any{"key": d.Key, "cause": d.Cause, "text": d.Text}
	}
	return out
}
