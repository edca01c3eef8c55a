package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/internal/tailing"
)

// What is handed over at a time.
const (
	handMessages = 500
	handBytes    = 4 << 20
	fetchBytes   = 4 << 20
)

// follower follows one partition.
type follower struct {
	*tailRun
	part    int
	start   int64 // FirstOffset or LastOffset: where a session begins
	session bool  // the next offset must be resolved, and a session begun
	fresh   bool  // it is resolved, and the session is announced with the first answer
	lost    bool
	heard   time.Time // the last answer
	ahead   *asked    // a fetch that was begun before the records before it were delivered; nil: none
	quiet   tailing.Throttle

	mu      sync.Mutex
	live    bool // a session has been announced, and stands
	id      topicID
	from    int64 // where the session began, or goes on behind missing messages
	next    int64 // everything below has been delivered
	waiting *barrier
	numbers tailing.Numbers
}

func (f *follower) run(ctx context.Context) {
	defer f.dropAhead()
	f.heard = time.Now()
	for ctx.Err() == nil {
		err := f.step(ctx)
		if err == nil {
			f.heard = time.Now()
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if err = explain(err); errors.Is(err, coherence.ErrMisconfigured) || time.Since(f.heard) > f.Silence {
			if !f.lost {
				f.lost = true
				f.sink.Lost(f.part)
			}
			f.failed(ctx, f.part, err)
		}
		tailing.Pause(ctx, 100*time.Millisecond)
	}
}

// step resolves the offset, or fetches once.
func (f *follower) step(ctx context.Context) error {
	if f.session {
		f.dropAhead()
		if err := f.resolve(ctx); err != nil {
			return err
		}
	}
	res, err := f.fetchNext(ctx)
	switch {
	case gone(err):
		// Retention has passed us, or the topic was deleted and perhaps made anew: either way something may be
		// missing.
		f.over()
		return err
	case err != nil:
		return err
	case f.fresh:
		f.begin()
	}
	if res.logStart > f.next {
		f.over()
		return fmt.Errorf("kafka: records of %s/%d up to %d were removed before they were read", f.Topic, f.part,
			res.logStart)
	}
	if upto := endOf(res.records, f.next); upto > f.next {
		f.ahead = f.ask(ctx, upto)
	}
	if err := f.deliver(ctx, res); err != nil {
		return err
	}
	if f.lost && !f.session && f.next >= res.highWatermark {
		f.lost = false
		f.sink.Resumed(f.part)
		f.worksAgain()
		f.Logger.Info("Kafka answers again", "topic", f.Topic, "partition", f.part)
	}
	return nil
}

// asked is a fetch that is under way, or answered.
type asked struct {
	offset int64
	answer chan outcome[*fetched] // buffered
	cancel context.CancelFunc
}

// ask begins a fetch.
func (f *follower) ask(ctx context.Context, offset int64) *asked {
	ctx, cancel := context.WithCancel(ctx)
	a := &asked{offset, make(chan outcome[*fetched], 1), cancel}
	q := f.request(offset)
	go func() {
		defer cancel()
		res, err := f.fetch(ctx, q)
		a.answer <- outcome[*fetched]{res, err}
	}()
	return a
}

func (f *follower) request(offset int64) *fetchRequest {
	wait := f.MaxWait
	if f.fresh {
		wait = 0
	}
	return &fetchRequest{topic: f.Topic, id: f.id, partition: f.part, offset: offset, wait: wait, maxBytes: fetchBytes}
}

func (r *tailRun) fetch(ctx context.Context, q *fetchRequest) (*fetched, error) {
	ctx, cancel := context.WithTimeout(ctx, q.wait+r.Silence)
	defer cancel()
	return r.c.fetch(ctx, q)
}

// fetchNext returns the answer to the fetch of the next offset. It was asked for before the last records were
// delivered, if there were any: so a partition whose records take long to deliver goes on with the others in one
// request, and none of them waits for it.
func (f *follower) fetchNext(ctx context.Context) (*fetched, error) {
	a := f.ahead
	f.ahead = nil
	if a != nil && a.offset != f.next { // the batches did not hold what their headers say
		a.drop()
		a = nil
	}
	if a == nil {
		return f.fetch(ctx, f.request(f.next))
	}
	out := <-a.answer // it ends with ctx
	return out.answer, out.err
}

// dropAhead ends a fetch that nobody waits for any more.
func (f *follower) dropAhead() {
	if f.ahead != nil {
		f.ahead.drop()
		f.ahead = nil
	}
}

func (a *asked) drop() {
	a.cancel()
	<-a.answer
}

// resolve finds where the session starts. The fetches of a session name the topic by its id, so what they return is
// of the topic that the offset is of.
func (f *follower) resolve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.Silence)
	defer cancel()
	t, err := f.c.topic(ctx, f.Topic)
	if err != nil {
		return err
	}
	next, err := f.c.offset(ctx, f.Topic, f.part, f.start)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id, f.from, f.next, f.session, f.fresh = t.id, next, next, false, true
	return nil
}

// begin announces the session, with the first answer: whoever may not read the topic follows nothing.
func (f *follower) begin() {
	f.mu.Lock()
	f.fresh, f.live, f.waiting, f.numbers = false, true, nil, tailing.Numbers{}
	f.mu.Unlock()
	f.start, f.lost = kafkago.LastOffset, false
	f.sink.Session(f.part)
	f.worksAgain()
	f.Logger.Info("following", "topic", f.Topic, "partition", f.part, "offset", f.next)
	f.offerAll(context.Background())
}

// offerAll offers the newest barrier to every partition: a session of one of them has made the sink forget them all.
func (r *tailRun) offerAll(ctx context.Context) {
	r.mu.Lock()
	b, followers := r.last, r.followers
	r.mu.Unlock()
	if b == nil {
		return
	}
	for _, f := range followers {
		f.offer(ctx, b)
	}
}

// over ends the session: another one is to begin.
func (f *follower) over() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session, f.live, f.fresh = true, false, false
}

// offer takes a barrier, at once or when the partition has been read up to its end. Of several that wait the last one
// counts, and the first one is kept until it is reached: otherwise a reader that is always a little behind would
// prove nothing.
func (f *follower) offer(ctx context.Context, b *barrier) {
	f.mu.Lock()
	gap := false
	switch {
	case !f.live || f.part >= len(b.ends) || f.id != b.id && f.id != (topicID{}) && b.id != (topicID{}):
	case f.next >= b.ends[f.part]:
		f.waiting = nil
		gap = f.take(ctx, b)
	case f.waiting == nil:
		f.waiting = b
	}
	f.mu.Unlock()
	if gap {
		f.offerAll(ctx)
	}
}

// take hands a barrier over. If the numbers show that an event is missing, it begins a session first, and reports that.
// The numbers do not begin with a barrier from before the session: the next barrier asks for events that were published
// between the two, and the session has not followed those. The caller holds f.mu.
func (f *follower) take(ctx context.Context, b *barrier) (gap bool) {
	if b.ends[f.part] >= f.from {
		gap = f.numbers.Barrier(b.at.Timeline, b.seqs[f.part])
	}
	if gap {
		f.missed(b)
		f.sink.Session(f.part)
	}
	m := b.of(f.part)
	m.Barrier.Seq = 0 // the numbers are checked here
	_ = f.sink.Deliver(ctx, f.part, []coherence.Message{m})
	return gap
}

// missed tells of missing events, once for each barrier: usually all partitions miss some at the same time. The
// metric of event sessions counts them all.
func (r *tailRun) missed(b *barrier) {
	r.mu.Lock()
	again := r.gap == b
	r.gap = b
	r.mu.Unlock()
	if !again {
		r.Logger.Warn("events are missing, so what was read before is not vouched for", "topic", r.Topic, "position", b.at)
	}
}

// reached notes that everything below next has been delivered, and takes the barriers that it reaches.
func (f *follower) reached(ctx context.Context, next int64) {
	f.mu.Lock()
	f.next = next
	b, gap := f.waiting, false
	if b != nil && next >= b.ends[f.part] {
		f.waiting = nil
		gap = f.take(ctx, b)
	}
	again := b != nil && f.waiting == nil
	f.mu.Unlock()
	if n := f.newest(); again && n != nil && n != b {
		f.offer(ctx, n)
	}
	if gap {
		f.offerAll(ctx)
	}
}

// deliver hands over the records of an answer. Offsets that hold nothing are no loss: control records, aborted
// transactions and compaction leave them. What retention removes is told by the answer's first offset.
func (f *follower) deliver(ctx context.Context, res *fetched) error {
	var records []*record
	size := 0
	rd := &reading{next: f.next, aborted: res.aborted}
	flush := func(next int64) error {
		batch, seen := f.decode(records)
		records, size = nil, 0
		if len(batch) > 0 {
			if err := f.sink.Deliver(ctx, f.part, batch); err != nil {
				f.over() // they count as missed
				return err
			}
		}
		f.note(seen)
		f.reached(ctx, next)
		return nil
	}
	rd.record = func(rec *record) error {
		if rec.value.cut() {
			f.malformed(rec.offset, fmt.Errorf("%w: %d bytes", coherence.ErrMalformed, rec.value.size))
			return nil
		}
		records = append(records, rec)
		if size += len(rec.value.data); len(records) >= handMessages || size >= handBytes {
			return flush(rd.next)
		}
		return nil
	}
	rd.lost = func(from, next int64, err error) error {
		if err := flush(from); err != nil {
			return err
		}
		f.malformed(from, err)
		f.mu.Lock()
		f.from, f.numbers = next, tailing.Numbers{}
		f.mu.Unlock()
		f.sink.Session(f.part)
		f.Logger.Warn("messages are missing", "topic", f.Topic, "partition", f.part, "from", from, "to", next)
		f.offerAll(ctx)
		return nil
	}
	if err := rd.read(res.records); err != nil {
		return err
	}
	return flush(rd.next)
}

// decode decodes records, and returns the numbers that their events bear. Whatever a codec does with one of them, it is
// one malformed message.
//
// Anybody may have written the records. They invalidate, and do nothing else: a number is compared with the relay's
// barriers alone, and a position is not passed on but for its timeline.
func (f *follower) decode(records []*record) (batch []coherence.Message, seen []tailing.Number) {
	all := make([][]coherence.Event, len(records))
	errs := tailing.Each(len(records), func(i int) (err error) {
		all[i], err = tailing.Decode(f.Codec, records[i].public(f.Topic, f.part))
		return err
	})
	for i, events := range all {
		if err := errs[i]; err != nil {
			f.malformed(records[i].offset, err)
			continue
		}
		for _, e := range events {
			if e.Seq > 0 {
				seen = append(seen, tailing.Number{Timeline: e.Position.Timeline, Seq: e.Seq})
			}
			e.Seq = 0
			batch = append(batch, coherence.Message{Event: e})
		}
	}
	return batch, seen
}

// note takes the numbers of events that were delivered.
func (f *follower) note(seen []tailing.Number) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range seen {
		f.numbers.Event(n)
	}
}

func (f *follower) malformed(offset int64, err error) {
	f.mu.Lock()
	f.numbers.Garbled()
	f.mu.Unlock()
	f.sink.Malformed(f.part, err)
	if !f.quiet.Pass() {
		return
	}
	f.Logger.Warn("a malformed message is skipped; the metrics count all of them", "topic", f.Topic, "partition",
		f.part, "offset", offset, "error", err)
}
