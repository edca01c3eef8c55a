package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/nearcache/nearcache-go/internal/demo"
	"github.com/nearcache/nearcache-go/internal/product/app/endpoint"
)

// demoBound is the bound of staleness that the live page asks for, if the caches have none.
const demoBound = 500 * time.Millisecond

// liveAudits is how many reads a second each instance's auditor compares with the database, on the live page.
const liveAudits = 5

// demo makes the live page, if there is something to show: embedded services, which it may break, and its number of
// instances. nil: there is no page.
func (s *Server) demo(b *backend) (*demo.Demo, error) {
	if b.flush == nil || s.Config.Instances != demo.Instances {
		return nil, nil
	}
	bound := s.Config.MaxStaleness
	if bound == 0 {
		bound = demoBound
	}
	d, err := demo.New(demo.Config{Store: b.store.Store, Redis: b.redis, Flush: b.flush, Prefix: s.Config.Prefix,
		Bound: bound, Logger: s.Logger})
	if err != nil {
		return nil, err
	}
	b.store.Store = d.Store(b.store.Store)
	return d, nil
}

// through is the backend as the i-th instance reaches it: by connections of its own, which the page can cut.
func (b *backend) through(d *demo.Demo, i int) *backend {
	if d == nil {
		return b
	}
	own := *b
	redis, kafka := d.Links(i)
	own.redis = redis.Redis(b.redis)
	own.brokers.Transport = endpoint.KafkaOver(kafka.Dial)
	own.source = d.Source(i, b.source)
	return &own
}

// relayOnPage runs the relay so that the page can stop it and start it again, and watches what it carries.
func (s *Server) relayOnPage(d *demo.Demo, b *backend, first *instance, prepared <-chan struct{}, log *slog.Logger,
	ended func(job string, err error)) {
	d.Relay(func(ctx context.Context) {
		select {
		case <-prepared:
		case <-ctx.Done():
			return
		}
		publisher, relay, err := b.relay(&s.Config, d.L2(), log)
		if err == nil {
			relay.Source, relay.Publisher = d.RelaySource(relay.Source), d.RelayPublisher(relay.Publisher)
			relay.Registerer = first.reg
			err = b.runRelay(ctx, publisher, relay, log)
		}
		ended("relay", err)
	})
}
