package eventstest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/eventstest"
)

// channel is an event channel in memory. Its faults are those of faulty.
type channel struct {
	faulty
	line *eventstest.Line

	mu     sync.Mutex
	made   int // how often
	parts  [][]record
	first  int // the first offset that is kept
	asks   []*ask
	rounds round // the last that was published
	head   coherence.Position
	turn   chan struct{} // with oneForAll
	ran    bool
}

// faulty are the faults of a channel. Each breaks one rule.
type faulty struct {
	lose, swap, late, unannounced bool
	unwaiting, unrefused          bool
	oneForAll                     bool
	silentMalformed               bool
	overtaking, early, unnumbered bool
	forgeable, foreignNumbers     bool
	keepBarriers                  bool
	anyHead, anyRound             bool
	silentLoss, skipping          bool
	over, same                    bool
	unnamed, deaf, deafInTheSink  bool
	once, drops                   bool
	mute                          bool
}

type record struct {
	coherence.Message
	foreign string
	raw     bool
}

type round struct{ term, number uint64 }

// ask is a question for a position. It counts from the round after the one in which it came.
type ask struct {
	due    bool
	answer chan coherence.Position
}

func newChannel(partitions int) *channel {
	return &channel{line: &eventstest.Line{}, parts: make([][]record, partitions), turn: make(chan struct{}, 1)}
}

// Partitions implements coherence.Publisher.
func (c *channel) Partitions(context.Context) (int, error) { return len(c.parts), nil }

// Publish implements coherence.Publisher.
func (c *channel) Publish(_ context.Context, batch []coherence.PartitionMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range batch {
		c.parts[m.Partition] = append(c.parts[m.Partition], record{Message: m.Message})
	}
	b := batch[0].Barrier
	if b == nil || b.Term == 0 {
		return nil
	}
	now := round{b.Term, b.Round}
	inTurn := c.rounds == round{b.Term, b.Round - 1}
	var left []*ask
	for _, a := range c.asks {
		if !b.Head.IsZero() && (a.due && inTurn || c.anyRound) {
			a.answer <- b.Head
			continue
		}
		a.due = true
		left = append(left, a)
	}
	c.asks, c.rounds, c.head = left, now, b.Head
	return nil
}

// write appends what somebody else writes.
func (c *channel) write(_ context.Context, p int, value []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts[p] = append(c.parts[p], record{foreign: string(value), raw: true})
	return nil
}

func (c *channel) recreate(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	c.first, c.parts = 0, make([][]record, len(c.parts))
	return nil
}

// remove removes all messages, and keeps the offsets.
func (c *channel) remove(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.parts {
		c.first = max(c.first, len(c.parts[p]))
	}
	for p := range c.parts { // one first offset for all: their ends are the same
		for len(c.parts[p]) < c.first {
			c.parts[p] = append(c.parts[p], record{raw: true, foreign: `{"namespace":"n","key":"fill"}`})
		}
	}
	return nil
}

// tail follows the channel.
type tail struct {
	c   *channel
	bad bool // it may not follow
}

var errRights = fmt.Errorf("memory: no right to follow: %w", coherence.ErrMisconfigured)

// Ping implements coherence.Pinger.
func (t *tail) Ping(context.Context) error {
	if t.bad && !t.c.unnamed {
		return errRights
	}
	return nil
}

// Run implements coherence.EventSource.
func (t *tail) Run(ctx context.Context, sink coherence.Sink) error {
	c := t.c
	c.mu.Lock()
	ran := c.ran
	c.ran = true
	c.mu.Unlock()
	if ran && c.once {
		<-ctx.Done()
		return ctx.Err()
	}
	if t.bad {
		if c.unnamed {
			sink.Failed(-1, errors.New("memory: it does not work"))
		} else {
			sink.Failed(-1, errRights)
		}
		<-ctx.Done()
		return ctx.Err()
	}
	if s, ok := sink.(coherence.PositionSink); ok {
		s.AskPositions(c.position)
	}
	if !c.unannounced {
		sink.Partitions(len(c.parts))
	}
	runCtx := ctx
	if c.deaf {
		runCtx = context.WithoutCancel(ctx)
	}
	var wg sync.WaitGroup
	for p := range c.parts {
		f := &reader{channel: c, sink: sink, part: p}
		if c.deaf {
			go f.run(runCtx)
			continue
		}
		wg.Go(func() { f.run(ctx) })
	}
	if c.deaf {
		<-ctx.Done()
	}
	wg.Wait()
	return ctx.Err()
}

func (c *channel) position(ctx context.Context) (coherence.Position, error) {
	a := &ask{answer: make(chan coherence.Position, 1)}
	c.mu.Lock()
	if c.anyHead && !c.head.IsZero() {
		defer c.mu.Unlock()
		return c.head, nil
	}
	c.asks = append(c.asks, a)
	c.mu.Unlock()
	select {
	case at := <-a.answer:
		return at, nil
	case <-ctx.Done():
		return coherence.Position{}, ctx.Err()
	}
}

// reader reads one partition.
type reader struct {
	*channel
	sink  coherence.Sink
	part  int
	began bool
	made  int
	next  int
	lost  bool
	read  int
}

func (r *reader) run(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		r.step(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (r *reader) step(ctx context.Context) {
	if r.line.IsCut() {
		if !r.lost {
			r.lost = true
			if !r.silentLoss {
				r.sink.Lost(r.part)
			}
			if !r.mute {
				r.sink.Failed(r.part, errors.New("memory: the line is cut"))
			}
		}
		return
	}
	if r.fresh() {
		return
	}
	if r.lost {
		r.lost = false
		if r.skipping {
			r.end()
		}
		r.sink.Resumed(r.part)
	}
	for _, rec := range r.some() {
		if !r.hand(ctx, rec) {
			return
		}
	}
}

// fresh begins a session where one is needed.
func (r *reader) fresh() bool {
	r.mu.Lock()
	over := !r.began || r.channel.made != r.made && !r.same || r.next < r.first && !r.over
	if r.next < r.first {
		r.next = r.first
	}
	r.mu.Unlock()
	if !over {
		return false
	}
	r.began, r.lost = true, false
	if r.late {
		r.sink.Session(r.part)
		<-time.After(5 * time.Millisecond) // others publish meanwhile
		r.end()
		return true
	}
	r.end()
	r.sink.Session(r.part)
	return true
}

// end goes to the end of the partition as it is now.
func (r *reader) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made, r.next = r.channel.made, len(r.parts[r.part])
}

// some are the next records.
func (r *reader) some() (records []record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next < len(r.parts[r.part]) {
		records = append(records, r.parts[r.part][r.next:]...)
	}
	if r.swap && len(records) > 2 {
		records[0], records[2] = records[2], records[0]
	}
	if r.overtaking && len(records) > 0 {
		if rec := records[max(len(records), 1)-1:]; len(rec) == 1 && rec[0].Barrier != nil {
			records = append([]record{rec[0]}, records...)
		}
	}
	return records
}

// hand hands over a record, and reports whether the reader goes on behind it.
func (r *reader) hand(ctx context.Context, rec record) bool {
	m, ok := r.decoded(rec)
	r.mu.Lock()
	r.next = min(r.next+1, len(r.parts[r.part]))
	r.mu.Unlock()
	if r.read++; !ok || r.lose && r.read%7 == 0 {
		return true
	}
	if m.Barrier == nil && r.oneForAll {
		r.turn <- struct{}{}
		defer func() { <-r.turn }()
	}
	if r.early && m.Barrier == nil {
		r.mu.Lock()
		for _, later := range r.parts[r.part][r.next:] {
			if later.Barrier != nil {
				r.mu.Unlock()
				_ = r.sink.Deliver(ctx, r.part, []coherence.Message{later.Message})
				r.mu.Lock()
				break
			}
		}
		r.mu.Unlock()
	}
	deliver := func() error { return r.sink.Deliver(ctx, r.part, []coherence.Message{m}) }
	if r.unwaiting {
		go deliver()
		return true
	}
	if r.deafInTheSink {
		ctx = context.WithoutCancel(ctx)
	}
	if err := deliver(); err != nil && !r.unrefused {
		r.began = false
		return false
	}
	return true
}

// decoded is a record as it is delivered.
func (r *reader) decoded(rec record) (m coherence.Message, ok bool) {
	switch {
	case !rec.raw && rec.Barrier != nil:
		b := *rec.Barrier
		if r.unnumbered {
			b.Seq = 0
		}
		return coherence.Message{Barrier: &b}, !r.dropped()
	case !rec.raw:
		m = rec.Message
		if r.unnumbered {
			m.Event.Seq = 0
		}
		return m, true
	case r.forgeable && strings.Contains(rec.foreign, "barrier"):
		return coherence.Message{Barrier: &coherence.Barrier{Position: coherence.Position{Timeline: 1, N: 1 << 40},
			Partitions: len(r.parts)}}, true
	}
	e, err := coherence.DecodeJSON([]byte(rec.foreign))
	if err == nil {
		err = e.Validate()
	}
	if err != nil {
		if !r.silentMalformed {
			r.sink.Malformed(r.part, err)
		}
		return m, false
	}
	if !r.foreignNumbers {
		e.Seq = 0
	}
	return coherence.Message{Event: e}, true
}

// dropped says that the channel is one that drops barriers.
func (r *reader) dropped() bool { return r.drops && !r.keepBarriers }
