//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// service is one of the three that members use: Redis, what carries the events, and the source.
type service string

const (
	redisService    service = "redis"
	kafkaService    service = kafkaEvents
	natsService     service = natsEvents
	postgresService service = "postgres"
)

// channel is the service that carries the events.
func (b *cluster) channel() service { return service(b.cfg.Events) }

// services are those of the run.
func (b *cluster) services() []service { return []service{redisService, b.channel(), postgresService} }

// links are the proxies: one for each member of the fleet and service, so that each can lose each.
type links struct {
	server *toxiproxy.ApiServer

	mu sync.Mutex
	by map[string]*link
}

// link is one member's way to one service.
type link struct {
	mu    sync.Mutex
	proxy *toxiproxy.Proxy
	addr  string // where the member connects to
}

func newLinks() *links {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log by themselves
	return &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop()),
		by: map[string]*link{}}
}

// add makes a link that goes to upstream.
func (ls *links) add(name, upstream string) error {
	p := toxiproxy.NewProxy(ls.server, name, "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		return fmt.Errorf("chaos: proxy %s: %w", name, err)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.by[name] = &link{proxy: p, addr: p.Listen}
	return nil
}

// of is a member's link.
func (ls *links) of(member string, s service) *link {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.by[member+"/"+string(s)]
}

// close ends all links.
func (ls *links) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, l := range ls.by {
		l.proxy.Stop()
	}
}

// toxic is what is done to a link's data.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"` // upstream: to the service
	Toxicity   float64        `json:"toxicity"`
	Attributes map[string]int `json:"attributes"`
}

// blackhole swallows everything that goes in a direction, and says nothing.
func blackhole(stream string) toxic {
	return toxic{Name: "blackhole-" + stream, Type: "timeout", Stream: stream, Toxicity: 1,
		Attributes: map[string]int{"timeout": 0}}
}

// latency delays, in milliseconds.
func latency(stream string, delay, jitter int) toxic {
	return toxic{Name: "latency-" + stream, Type: "latency", Stream: stream, Toxicity: 1,
		Attributes: map[string]int{"latency": delay, "jitter": jitter}}
}

// dribble lets through a few kilobytes a second.
func dribble(stream string, rate int) toxic {
	return toxic{Name: "dribble-" + stream, Type: "bandwidth", Stream: stream, Toxicity: 1,
		Attributes: map[string]int{"rate": rate}}
}

// add puts a toxic on a link, on its connections and those to come.
func (l *link) add(t toxic) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(string(b))); err != nil {
		return fmt.Errorf("chaos: toxic %s on %s: %w", t.Name, l.proxy.Name, err)
	}
	return nil
}

// has reports whether a toxic is on the link.
func (l *link) has(t toxic) bool { return l.proxy.Toxics.GetToxic(t.Name) != nil }

// cure takes all toxics away.
func (l *link) cure() error {
	done := make(chan struct{})
	go func() { defer close(done); l.proxy.Toxics.ResetToxics(context.Background()) }()
	select {
	case <-done:
		return nil
	case <-time.After(20 * time.Second): // it holds locks that all else on this link needs
		return fmt.Errorf("chaos: proxy %s does not let go of its toxics", l.proxy.Name)
	}
}

// reset closes all connections; the next ones are let through.
func (l *link) reset() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.Stop()
	if err := l.proxy.Start(); err != nil {
		return fmt.Errorf("chaos: proxy %s: %w", l.proxy.Name, err)
	}
	return nil
}

// cut closes all connections and refuses new ones, until restore.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.Stop()
}

func (l *link) restore() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.proxy.Enabled {
		return nil
	}
	if err := l.proxy.Start(); err != nil {
		return fmt.Errorf("chaos: proxy %s: %w", l.proxy.Name, err)
	}
	return nil
}

// route leads the link elsewhere; its connections are closed.
func (l *link) route(upstream string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.Stop()
	l.proxy.Lock()
	l.proxy.Upstream = upstream
	l.proxy.Unlock()
	if err := l.proxy.Start(); err != nil {
		return fmt.Errorf("chaos: proxy %s: %w", l.proxy.Name, err)
	}
	return nil
}
