package suite

import (
	"context"
	"fmt"
	"time"
)

// scaleSample is what has been counted up to a moment.
type scaleSample struct {
	cpuReadings
	counts    scaleCounts
	redis     redisStats
	relayed   relayed
	published float64 // bytes
}

func (s *scaleRun) sample(ctx context.Context) (p scaleSample, err error) {
	var all []scaleCounts
	if err := s.workers.collect("count", &all); err != nil {
		return p, err
	}
	for _, c := range all {
		p.counts = p.counts.plus(1, c)
	}
	p.redis = s.e.redisStats(ctx)
	// A round brings every bucket with changes to where it has read; the others follow ten times a second.
	marks, err := s.own.Client.L2().Watermarks(ctx)
	if err != nil {
		return p, err
	}
	for _, m := range marks {
		p.relayed.redis = max(p.relayed.redis, float64(m.Position.N))
	}
	p.relayed.kafka, p.published = s.outbox.published(), float64(s.publisher.out.Load())
	p.cpuReadings, err = readCPU(s.pids)
	return p, err
}

// load is what goes on in a window.
type load int

const (
	noLoad  load = iota
	toRedis      // reads, and writes that are relayed to Redis
	toBoth       // and to Kafka
)

// measure waits until things have settled and counts for a while.
func (s *scaleRun) measure(ctx context.Context, settle, window time.Duration, l load) (*scaleWindow, error) {
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
	w := &scaleWindow{cpuUsage: a.usageUntil(b.cpuReadings),
		scaleCounts: scaleCounts{}.plus(per, b.counts).plus(-per, a.counts),
		redis: redisStats{commands: per * (b.redis.commands - a.redis.commands),
			in: per * (b.redis.in - a.redis.in), out: per * (b.redis.out - a.redis.out)},
		relayed:   relayed{per * (b.relayed.redis - a.relayed.redis), per * (b.relayed.kafka - a.relayed.kafka)},
		published: per * (b.published - a.published)}
	var paces []rateCheck
	writes := s.point.Writes - per // few of them in a short window are a count with an error of one
	if l >= toRedis {
		paces = append(paces, rateCheck{"reads", scaleReads, w.Reads},
			rateCheck{"writes relayed to Redis", writes, w.relayed.redis})
	}
	if l >= toBoth {
		paces = append(paces, rateCheck{"writes relayed to Kafka", writes, w.relayed.kafka})
	}
	full := saturatedPart
	if s.e.Quick {
		full = 1 // a quick run shows that it works, on a machine that may be busy with other things
	}
	w.end = w.whyCurveEnds(full, paces...)
	return w, nil
}

// hits says that a run is void if L1 was idle. Where hardly any read can hit, since keys are written more often than each
// instance reads them, how many do is a figure of the run: an entry comes near by two reads of Redis without a write between them,
// and the expectation counts one.
func (s *scaleRun) hits(w *scaleWindow) error {
	_, want := s.point.holding()
	if got := w.NearHits / w.Reads; got < want/2 && want >= 0.1 || w.Redis.Keys == 0 {
		return fmt.Errorf("suite: scale: %+v: %.1f%% of reads hit near, %.1f%% were to; %.1f keys/s were pushed: the run is void", s.point, 100*got, 100*want, w.Redis.Keys)
	}
	return nil
}
