package demo

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/product"
)

// observedStore notes the time of every commit.
type observedStore struct {
	product.Store
	d *Demo
}

// Store returns the store that all instances use.
func (d *Demo) Store(s product.Store) product.Store { return &observedStore{s, d} }

// Create implements product.Store.
func (s *observedStore) Create(ctx context.Context, p product.Product) (product.Version, error) {
	v, err := s.Store.Create(ctx, p)
	if err == nil {
		s.d.committed(p.ID, v)
	}
	return v, err
}

// Replace implements product.Store.
func (s *observedStore) Replace(ctx context.Context, p product.Product, may product.Condition) (product.Version, bool,
	error) {
	v, created, err := s.Store.Replace(ctx, p, may)
	if err == nil {
		s.d.committed(p.ID, v)
	}
	return v, created, err
}

// Delete implements product.Store.
func (s *observedStore) Delete(ctx context.Context, id string, may product.Condition) (product.Version, error) {
	v, err := s.Store.Delete(ctx, id, may)
	if err == nil {
		s.d.committed(id, v)
	}
	return v, err
}

// committed notes a commit, and has the plain caches' writer announce it as such a program would: after the commit, by
// a message.
func (d *Demo) committed(id string, v product.Version) {
	now := time.Now()
	d.truth.committed(id, v, now)
	d.journeys.at(id, v, stageDatabase, now)
	d.publish(id)
}

// observedSource notes when the relay reads a change from the outbox.
type observedSource struct {
	coherence.Source
	d *Demo
}

// RelaySource returns the source that the relay reads.
func (d *Demo) RelaySource(s coherence.Source) coherence.Source { return &observedSource{s, d} }

// Changes implements coherence.Source.
func (s *observedSource) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	events, upto, err := s.Source.Changes(ctx, after, limit)
	now := time.Now()
	for _, e := range events {
		if e.Namespace != product.Namespace {
			continue
		}
		if !e.Time.IsZero() {
			s.d.truth.committed(e.Key, e.Version, e.Time) // of a write that went past all instances
		}
		s.d.journeys.at(e.Key, e.Version, stageOutbox, now)
	}
	return events, upto, err
}

// observedPublisher notes when Kafka has taken an event.
type observedPublisher struct {
	coherence.Publisher
	d *Demo
}

// RelayPublisher returns the publisher that the relay sends to.
func (d *Demo) RelayPublisher(p coherence.Publisher) coherence.Publisher {
	return &observedPublisher{p, d}
}

// Publish implements coherence.Publisher.
func (p *observedPublisher) Publish(ctx context.Context, batch []coherence.PartitionMessage) error {
	err := p.Publisher.Publish(ctx, batch)
	if err == nil {
		now := time.Now()
		for _, m := range batch {
			p.d.journeys.at(m.Event.Key, m.Event.Version, stageKafka, now)
		}
	}
	return err
}

// observedEvents notes when an event has taken effect on one instance.
type observedEvents struct {
	coherence.EventSource
	d *Demo
	i int
}

// Events returns the events that an instance follows.
func (d *Demo) Events(i int, s coherence.EventSource) coherence.EventSource {
	return &observedEvents{s, d, i}
}

// Run implements coherence.EventSource.
func (e *observedEvents) Run(ctx context.Context, sink coherence.Sink) error {
	return e.EventSource.Run(ctx, &observedSink{sink, e})
}

type observedSink struct {
	coherence.Sink
	e *observedEvents
}

// Deliver implements coherence.Sink.
func (s *observedSink) Deliver(ctx context.Context, partition int, batch []coherence.Message) error {
	err := s.Sink.Deliver(ctx, partition, batch)
	if err == nil {
		now := time.Now()
		for _, m := range batch {
			if m.Barrier == nil {
				s.e.d.journeys.at(m.Event.Key, m.Event.Version, stage{Instance: s.e.i + 1, By: "kafka"}, now)
			}
		}
	}
	return err
}
