package suite

import (
	"context"
	"fmt"
	"time"
)

// channelSample is the state of all counters at a moment.
type channelSample struct {
	cpuReadings
	counts    channelCounts
	redis     redisStats
	relayed   relayed
	published float64 // bytes
}

func (s *channelRun) sample(ctx context.Context) (p channelSample, err error) {
	var all []channelCounts
	if err := s.workers.collect("count", &all); err != nil {
		return p, err
	}
	for _, c := range all {
		p.counts = p.counts.plus(1, c)
	}
	p.redis = s.e.redisStats(ctx)
	// A round of the relay advances the watermark of every bucket with changes; the others follow ten times a second.
	marks, err := s.own.Client.L2().Watermarks(ctx)
	if err != nil {
		return p, err
	}
	for _, m := range marks {
		p.relayed.redis = max(p.relayed.redis, float64(m.Position.N))
	}
	p.relayed.kafka, p.published = s.outbox.published(), float64(s.published.out.Load())
	p.cpuReadings, err = readCPU(s.pids)
	return p, err
}

// load says what happens in a window.
type load int

const (
	noLoad  load = iota
	toRedis      // reads, and writes that are relayed to Redis
	toBoth       // and to Kafka
)

// measure waits for settle, and then counts for the time of the window.
func (s *channelRun) measure(ctx context.Context, settle, window time.Duration, l load) (*channelWindow, error) {
	time.Sleep(settle)
	a, err := s.sample(ctx)
	if err != nil {
		return nil, err
	}
	time.Sleep(window)
	b, err := s.sample(ctx)
	if err != nil {
		return nil, err
	}
	per := 1 / b.at.Sub(a.at).Seconds()
	w := &channelWindow{cpuUsage: a.usageUntil(b.cpuReadings),
		channelCounts: channelCounts{}.plus(per, b.counts).plus(-per, a.counts),
		redis: redisStats{commands: per * (b.redis.commands - a.redis.commands),
			in: per * (b.redis.in - a.redis.in), out: per * (b.redis.out - a.redis.out)},
		relayed:   relayed{per * (b.relayed.redis - a.relayed.redis), per * (b.relayed.kafka - a.relayed.kafka)},
		published: per * (b.published - a.published)}
	var paces []rateCheck
	writes := s.point.Writes - per // a count over a short window has an error of one
	if l >= toRedis {
		paces = append(paces, rateCheck{"reads", channelReads, w.Reads},
			rateCheck{"writes relayed to Redis", writes, w.relayed.redis})
	}
	if l >= toBoth {
		paces = append(paces, rateCheck{"writes relayed to Kafka", writes, w.relayed.kafka})
	}
	full := saturatedPart
	if s.e.Quick {
		full = 1 // a quick run must work on a machine that is busy with other things
	}
	w.end = w.whyCurveEnds(full, paces...)
	return w, nil
}

// requireL1Hits returns an error if L1 had far fewer hits than expected. Where keys are written more often than each
// instance reads them, hardly any read can hit, and the ratio is only reported: an entry enters L1 by two reads of
// Redis without a write between them, and the expectation assumes one.
func (s *channelRun) requireL1Hits(w *channelWindow) error {
	_, want := s.point.holding()
	if got := w.L1Hits / w.Reads; got < want/2 && want >= 0.1 || w.Redis.Keys == 0 {
		return fmt.Errorf("suite: channels: %+v: %.1f%% of reads hit L1, want %.1f%%; %.1f keys/s were pushed: void",
			s.point, 100*got, 100*want, w.Redis.Keys)
	}
	return nil
}
