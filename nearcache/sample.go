package nearcache

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// sampler learns positions of the source: a sample is a moment of our own clock, and a position that covers every
// commit acknowledged before it. The relay's rounds in Redis end most samples, for nothing (fence.Round). Without them
// the event channel is asked, if its relay tells of its rounds there, and then the source.
type sampler struct {
	// ask asks the event channel; nil: it cannot be asked.
	ask    atomic.Pointer[func(ctx context.Context) (coherence.Position, error)]
	asking atomic.Int32 // questions to it that are not answered yet

	askingSource atomic.Bool
	askedSource  atomic.Int64 // when it last was

	byEvents, bySource atomic.Int64 // when the newest sample of each began that has ended
	counted            atomic.Int64 // the newest sample of the rounds that is counted
}

const (
	// sampleRarely is how often the source is asked for its position while no round shows it, if that proves nothing now.
	sampleRarely = time.Second
	// An answer of the event channel takes two of the relay's rounds, so several questions wait at a time. After so
	// many the channel is away.
	maxAsking = 8
	// patience is for how many heartbeats the event channel is given before the source is asked.
	patience = 4
)

// What has shown the newest position.
const (
	sampledByRounds = "rounds"
	sampledByEvents = "events"
	sampledBySource = "source"
	sampledByNone   = "none"
)

// sample asks for a position of the source if the rounds have shown none lately. With a stream of events its barriers
// may still go on, so the position is of use at once. Otherwise it only shows whether the source answers, and whether
// it has begun another timeline. gap is the time from one heartbeat to the next.
//
// It is useful at once too if only the node that has the rounds does not answer: the relay goes on moving the
// watermarks of the others.
//
// A sample of the rounds is up to a heartbeat, or gap, and two rounds old when the next one ends: a round that is not
// published in time for a heartbeat ends it at the next.
func (c *Client) sample(gap int64, useful bool) {
	s, now := &c.sampler, c.now()
	beat := int64(c.beatEvery)
	rounds := c.fence.RoundSampledAt()
	if rounds != 0 && s.counted.Swap(rounds) != rounds {
		c.m.sampled(sampledByRounds).Inc()
	}
	if rounds != 0 && now-rounds <= max(gap, beat)+2*beat {
		c.health.sampled(nil)
		return
	}
	if c.untracked && c.source != nil { // an idle relay's barriers are rare, and no round shows more
		c.sampleBySource(now, gap, 0, true)
		return
	}
	c.sampleByEvents()
	c.sampleBySource(now, gap, max(rounds, s.byEvents.Load()), useful || c.m.events)
}

// sampleByEvents asks the event channel. It is not waited for: the next question may be asked before this one is
// answered.
func (c *Client) sampleByEvents() {
	s := &c.sampler
	position := s.ask.Load()
	if position == nil || s.asking.Load() >= maxAsking {
		return
	}
	s.asking.Add(1)
	c.wg.Go(func() {
		defer s.asking.Add(-1)
		ctx, cancel := context.WithTimeout(c.life, min(10*c.beatEvery, maxTTL))
		defer cancel()
		p := c.fence.BeginSample()
		at, err := (*position)(ctx)
		switch {
		case err == nil:
			c.fence.EndSample(p, at)
			newer(&s.byEvents, p.Begun())
			c.m.sampled(sampledByEvents).Inc()
			c.measure()
		case c.life.Err() == nil:
			c.m.errors("sample_events").Inc()
		}
	})
}

// sampleBySource asks the source, unless the last sample is of a moment ago. If its position is of no use now, it is
// asked rarely.
func (c *Client) sampleBySource(now, gap, last int64, useful bool) {
	s := &c.sampler
	if c.source == nil {
		return
	}
	if s.ask.Load() != nil && last != 0 && now-last <= gap+patience*int64(c.beatEvery) {
		c.health.sampled(nil)
		return
	}
	asked := s.askedSource.Load()
	if !useful && asked != 0 && now-asked < int64(max(sampleRarely, c.beatEvery)) {
		return
	}
	if !s.askingSource.CompareAndSwap(false, true) {
		return
	}
	s.askedSource.Store(now)
	c.wg.Go(func() {
		defer s.askingSource.Store(false)
		_ = c.probe(min(10*c.beatEvery, maxTTL)) // the outcome is in Status
	})
}

// probe reads the source's position.
func (c *Client) probe(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(c.life, timeout)
	defer cancel()
	p := c.fence.BeginSample()
	at, err := singly(ctx, &c.sampling, func() (coherence.Position, error) { return c.source.Position(ctx) })
	if c.life.Err() == nil {
		c.health.sampled(err)
	}
	if err != nil {
		c.m.errors("sample").Inc()
		return err
	}
	c.fence.EndSample(p, at)
	newer(&c.sampler.bySource, p.Begun())
	c.m.sampled(sampledBySource).Inc()
	c.measure()
	return nil
}

// sampledBy says what has shown the newest position of the source.
func (c *Client) sampledBy() string {
	by, newest := sampledByNone, int64(0)
	for _, s := range []struct {
		name string
		at   int64
	}{{sampledByRounds, c.fence.RoundSampledAt()}, {sampledByEvents, c.sampler.byEvents.Load()},
		{sampledBySource, c.sampler.bySource.Load()}} {
		if s.at > newest {
			by, newest = s.name, s.at
		}
	}
	return by
}

// newer moves a moment forward.
func newer(at *atomic.Int64, to int64) {
	for {
		was := at.Load()
		if was >= to || at.CompareAndSwap(was, to) {
			return
		}
	}
}
