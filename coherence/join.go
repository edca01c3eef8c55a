package coherence

import (
	"context"
	"errors"
	"sync"
)

// JoinEvents follows several streams of events as one: several topics, or the topics of several databases. Events of
// all of them invalidate. A client vouches for a value by events only while every stream is followed, since any of them
// may tell of its change.
//
// Barriers are dropped: one says how far its own stream has come, and nothing of the others. So joined streams prove no
// bound while Redis is away.
//
// Run returns the first error that a stream's Run returns, and ends the others. Ping asks each stream that is a Pinger.
func JoinEvents(streams ...EventSource) EventSource { return joined(streams) }

type joined []EventSource

// Run implements EventSource.
func (j joined) Run(ctx context.Context, sink Sink) error {
	if len(j) == 0 {
		return errors.New("coherence: JoinEvents: there is no stream")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	join := &join{sink: sink, streams: make([][]bool, len(j))}
	for i := range join.streams {
		join.streams[i] = make([]bool, 1)
	}
	sink.Partitions(len(j))
	var wg sync.WaitGroup
	for i, stream := range j {
		wg.Go(func() {
			if err := stream.Run(ctx, &joinedSink{join, i}); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Ping implements Pinger.
func (j joined) Ping(ctx context.Context) error {
	for _, stream := range j {
		if p, ok := stream.(Pinger); ok {
			if err := p.Ping(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// join numbers the partitions of all streams from 0 on, those of the first stream first.
type join struct {
	sink Sink

	// deliveries is held for writing while the numbers change, so that nothing is delivered under an old one. A Deliver
	// may take long, and Lost must not wait for it: that takes mu alone. deliveries is locked first.
	deliveries sync.RWMutex
	mu         sync.Mutex
	// streams says which partitions are followed. A stream has one at least, so that one that has not said how many
	// there are is not followed.
	streams [][]bool
}

// number is that of a stream's partition; ok is false for one that the stream has not announced. The caller holds mu.
func (j *join) number(stream, partition int) (n int, ok bool) {
	for _, followed := range j.streams[:stream] {
		n += len(followed)
	}
	return n + partition, partition >= 0 && partition < len(j.streams[stream])
}

// renumber announces the partitions again. Nothing is missed by that: those that were followed go on.
func (j *join) renumber() {
	total := 0
	for _, followed := range j.streams {
		total += len(followed)
	}
	j.sink.Partitions(0)
	j.sink.Partitions(total)
	n := 0
	for _, followed := range j.streams {
		for _, is := range followed {
			if is {
				j.sink.Resumed(n)
			}
			n++
		}
	}
}

// joinedSink is the sink of one stream.
type joinedSink struct {
	*join
	stream int
}

func (s *joinedSink) numberOf(partition int) (n int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number(s.stream, partition)
}

// Partitions implements Sink.
func (s *joinedSink) Partitions(n int) {
	s.deliveries.Lock()
	defer s.deliveries.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.streams[s.stream]
	if n == 0 { // none of those that were there is followed
		have = nil
	}
	if n = max(n, 1); n == len(have) {
		return
	}
	followed := make([]bool, n)
	copy(followed, have)
	s.streams[s.stream] = followed
	s.renumber()
}

// follow passes on what changes whether a partition is followed.
func (s *joinedSink) follow(partition int, followed bool, tell func(partition int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.number(s.stream, partition); ok {
		s.streams[s.stream][partition] = followed
		tell(n)
	}
}

// Session implements Sink.
func (s *joinedSink) Session(partition int) { s.follow(partition, true, s.sink.Session) }

// Lost implements Sink.
func (s *joinedSink) Lost(partition int) { s.follow(partition, false, s.sink.Lost) }

// Resumed implements Sink.
func (s *joinedSink) Resumed(partition int) { s.follow(partition, true, s.sink.Resumed) }

// Deliver implements Sink.
func (s *joinedSink) Deliver(ctx context.Context, partition int, batch []Message) error {
	events := make([]Message, 0, len(batch))
	for _, m := range batch {
		if m.Barrier == nil {
			events = append(events, m)
		}
	}
	s.deliveries.RLock()
	defer s.deliveries.RUnlock()
	n, ok := s.numberOf(partition)
	if !ok || len(events) == 0 {
		return nil
	}
	return s.sink.Deliver(ctx, n, events)
}

// Malformed implements Sink.
func (s *joinedSink) Malformed(partition int, err error) {
	n, _ := s.numberOf(max(partition, 0))
	s.sink.Malformed(n, err)
}

// Failed implements Sink. What fails for a stream as a whole is reported of its first partition: a session of another
// stream does not end it.
func (s *joinedSink) Failed(partition int, err error) {
	n, _ := s.numberOf(max(partition, 0))
	s.sink.Failed(n, err)
}
