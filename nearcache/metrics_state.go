package nearcache

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// channelStates collects what the channels prove and whether they are heard, with one look at them for each scrape. A
// channel that proves nothing has no sample of its staleness.
type channelStates struct{ c *Client }

var (
	provedDesc = prometheus.NewDesc("nearcache_proved_staleness_seconds",
		"How old, at most, what the channel vouches for is now.", []string{"channel"}, nil)
	channelUpDesc = prometheus.NewDesc("nearcache_channel_up",
		"1 while the channel vouches for entries: all of Redis is tracked, or every partition of the events is followed.",
		[]string{"channel"}, nil)
)

// Describe implements prometheus.Collector.
func (channelStates) Describe(ch chan<- *prometheus.Desc) {
	ch <- provedDesc
	ch <- channelUpDesc
}

// Collect implements prometheus.Collector.
func (s channelStates) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, v float64, channel string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, channel)
	}
	b, channels := s.c.bound(), s.c.fence.Channels()
	if b.Redis > 0 {
		gauge(provedDesc, b.Redis.Seconds(), "redis")
	}
	if !s.c.untracked {
		gauge(channelUpDesc, flag(s.c.l2.Up() && channels.Watermarks == l2.Buckets), "redis")
	}
	if !s.c.m.events {
		return
	}
	if b.Events > 0 {
		gauge(provedDesc, b.Events.Seconds(), "events")
	}
	gauge(channelUpDesc, flag(channels.EventSession != 0), "events")
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
