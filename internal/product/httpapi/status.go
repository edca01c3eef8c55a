package httpapi

import (
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
	"github.com/nearcache/nearcache-go/nearcache"
)

// status is what an operator asks first: what is connected, and what bound is in force by which channel. Times are in
// seconds; 0 says that nothing is proved.
type status struct {
	Ready         bool    `json:"ready"`
	Mode          string  `json:"mode"`
	Redis         bool    `json:"redis_connected"`
	Events        bool    `json:"events_followed"`
	Pending       int     `json:"invalidations_pending"`
	Staleness     float64 `json:"proved_staleness"`
	Channel       string  `json:"proved_by"`
	ByRedis       float64 `json:"proved_staleness_by_redis"`
	ByEvents      float64 `json:"proved_staleness_by_events"`
	MaxStaleness  float64 `json:"max_staleness"`
	Slack         float64 `json:"slack"`
	GateOpen      bool    `json:"gate_open"`
	RedisSessions uint64  `json:"redis_sessions"`
	EventSessions uint64  `json:"event_sessions"`
}

func statusOf(s nearcache.Status) status {
	c := s.Caches[product.Namespace]
	sec := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e6 }
	return status{Ready: s.Ready, Mode: s.Mode.String(), Redis: s.Redis, Events: s.Events, Pending: s.Pending,
		Staleness: sec(s.Bound.Staleness), Channel: s.Bound.Channel, ByRedis: sec(s.Bound.Redis), ByEvents: sec(s.Bound.Events),
		MaxStaleness: sec(c.MaxStaleness), Slack: sec(c.Slack), GateOpen: c.Open,
		RedisSessions: s.Channels.RedisSessions, EventSessions: s.Channels.EventSessions}
}
