package relay

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// publisher is the relay's way to an event channel, in one term of leadership.
//
// Events are published first and the cursor saved after, so a relay that dies in between is followed by one that
// publishes the same events again. Since the cursor holds the sequence numbers, and changes come in one order, they
// have the same numbers: a follower of the channel sees repetition and no gap. The same goes for a relay that has
// lost its leadership without knowing: what it publishes is what its successor does.
type publisher struct {
	*relayRun
	progress    progress
	loaded      bool
	cur         coherence.Cursor
	saved       coherence.Position
	savedAt     time.Time
	lastBarrier time.Time
	barrier     barrierState       // that the last one said
	moved       bool               // the last one said something new
	counted     time.Time          // when the partitions were
	asked       coherence.Position // that the source last answered with, and when it was asked
	askedAt     time.Time
	quiet       bool   // it had nothing to ask for in the last round
	term        uint64 // drawn at random
	rounds      uint64 // of barriers that were sent in it
}

// barrierState is what barriers tell of.
type barrierState struct {
	at         coherence.Position
	partitions int
}

// recount is how often the number of partitions is looked up. Followers that see more than the barriers tell of
// believe no barrier, so a topic that grows closes their gate for about as long.
const recount = time.Second

func (p *publisher) round(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if p.loaded && time.Since(p.counted) >= recount {
		n, err := p.Publisher.Partitions(ctx)
		if err != nil {
			return false, err
		}
		p.loaded, p.counted = n == len(p.cur.Seqs), time.Now()
	}
	if !p.loaded {
		if err := p.load(ctx); err != nil {
			return false, err
		}
	}
	begun, due := time.Now(), p.isDue(p.lastBarrier)
	var head coherence.Position
	if due && p.tellsHead() { // before the changes: then the barriers cover it, unless a transaction is open
		if head, err = p.readHead(ctx); err != nil {
			return false, err
		}
	}
	events, upto, err := p.changes(ctx)
	if errors.Is(err, coherence.ErrTrimmed) {
		return true, p.skip(ctx)
	}
	if err != nil {
		return false, err
	}
	out, seqs := numbered(events, p.cur.Seqs)
	err = p.traced(ctx, "relay.events", events, func(ctx context.Context) error { return p.send(ctx, out) })
	if err != nil {
		return false, err
	}
	p.cur = coherence.Cursor{Position: upto, Seqs: seqs}
	p.m.events.WithLabelValues("events").Add(float64(len(events)))
	// A cursor that moved past nothing need not be saved at once: it only keeps the outbox from being trimmed. Saving it
	// is a commit, and moves the source's position: it would be saved again and again.
	if len(events) > 0 || upto != p.saved && time.Since(p.savedAt) >= min(idleSave, p.Keep/4) {
		if err := p.cursors.SaveCursor(ctx, p.Name, p.cur); err != nil {
			p.loaded = false
			return false, err
		}
		p.saved, p.savedAt = upto, time.Now()
	}
	p.pass("events", p.saved)
	if due {
		if err := p.barriers(ctx, begun, head); err != nil {
			return false, err
		}
	}
	more = len(events) >= p.Batch
	p.progress.note(ctx, events, upto, more)
	return more, nil
}

// next is when a round is due after one that began at a moment. While Redis's rounds read the source's position, and it
// stands still, they wake this channel when it moves. Then only barriers are due, which say nothing new, until Redis
// takes no rounds.
func (p *publisher) next(begun time.Time) time.Time {
	at := begun.Add(p.Interval)
	if !p.quiet || p.moved || !p.redisFollows() {
		return at
	}
	until := p.lastBarrier.Add(idleBarrier)
	if follows := p.followsUntil(); follows.Before(until) {
		until = follows
	}
	if until.After(at) {
		return until
	}
	return at
}

// changes asks the source, unless its position says that there is nothing new.
func (p *publisher) changes(ctx context.Context) ([]coherence.Event, coherence.Position, error) {
	p.quiet = p.cur.Position == p.asked && p.isHead(p.asked)
	if p.quiet && time.Since(p.askedAt) < askAgain {
		return nil, p.cur.Position, nil
	}
	at := time.Now()
	events, upto, err := p.Source.Changes(ctx, p.cur.Position, p.Batch)
	if err == nil {
		p.asked, p.askedAt = upto, at
	}
	return p.wellFormed("events", events), upto, err
}

// numbered gives events their partitions and their numbers there, which follow seqs. Of a truncated namespace each
// partition gets a copy: no barrier of any partition may pass it.
func numbered(events []coherence.Event, seqs []uint64) (out []coherence.PartitionMessage, last []uint64) {
	last = slices.Clone(seqs)
	out = make([]coherence.PartitionMessage, 0, len(events))
	add := func(part int, e coherence.Event) {
		last[part]++
		e.Seq = last[part]
		out = append(out, coherence.PartitionMessage{Partition: part, Message: coherence.Message{Event: e}})
	}
	for _, e := range events {
		if e.Op != coherence.OpTruncated {
			add(coherence.PartitionOf(e.Namespace, e.Key, len(seqs)), e)
			continue
		}
		for part := range seqs {
			add(part, e)
		}
	}
	return out, last
}

// idleBarrier is how often barriers are sent that say nothing new, while Redis takes the relay's rounds: those show the
// source's position. Without them the barriers do, so they are sent at each interval. It is longer than the time from
// one beat of the relay's lease to the next: each beat moves the position of an idle database, which is new.
const idleBarrier = 1250 * time.Millisecond

// idleSave is how often the cursor is saved while it moves past nothing, or a quarter of Relay.Keep if that is less.
const idleSave = 10 * time.Second

// barriers sends what the cursor says, if that is news. It comes after the events of the round, in a batch of its
// own, and after the cursor is saved: a barrier that cannot be sent does not have the events sent again. Inside a large
// transaction it says what came before the transaction.
func (p *publisher) barriers(ctx context.Context, begun time.Time, head coherence.Position) error {
	now := barrierState{p.cur.Position.Whole(), len(p.cur.Seqs)}
	p.moved = now != p.barrier
	if !p.moved && p.redisFollows() && time.Since(p.lastBarrier) < idleBarrier {
		return nil
	}
	batch := make([]coherence.PartitionMessage, len(p.cur.Seqs))
	for part, seq := range p.cur.Seqs {
		b := &coherence.Barrier{Position: now.at, Seq: seq, Partitions: len(p.cur.Seqs), Head: head, Term: p.term,
			Round: p.rounds + 1}
		batch[part] = coherence.PartitionMessage{Partition: part, Message: coherence.Message{Barrier: b}}
	}
	p.rounds++ // also if they fail: they may come all the same, and no two are of one number
	if err := p.send(ctx, batch); err != nil {
		return err
	}
	p.barrier, p.lastBarrier = now, begun
	return nil
}

// tellsHead reports whether the barriers of this round tell of the source's head. While the source is idle, and Redis
// takes the relay's rounds, only every idleBarrier has any barriers. The source is not asked for nothing.
func (p *publisher) tellsHead() bool {
	return p.moved || !p.redisFollows() || time.Since(p.lastBarrier) >= idleBarrier
}

// send publishes a batch. After an error the number of partitions may have changed, or the leadership.
//
// Events that can never be published are left out, and their numbers with them: the next event or barrier of the
// partition shows its followers a gap, and they vouch for nothing from before. So no barrier passes over such an
// event in silence, and it does not stop those behind it.
func (p *publisher) send(ctx context.Context, batch []coherence.PartitionMessage) error {
	if len(batch) == 0 {
		return nil
	}
	err := p.Publisher.Publish(ctx, batch)
	var left *coherence.UnpublishedError
	if errors.As(err, &left) {
		p.m.unpublished.Add(float64(len(left.Messages)))
		for i, why := range left.Messages {
			e := batch[i].Event
			p.Logger.Error("an event cannot be published; followers will see a gap", "namespace", e.Namespace,
				"key", shortened(e.Key), "key_bytes", len(e.Key), "partition", batch[i].Partition, "seq", e.Seq,
				"error", why)
		}
		return nil
	}
	p.loaded = p.loaded && err == nil
	return err
}

// shortened is the beginning of a key, for the log.
func shortened(key string) string {
	const most = 64
	if len(key) <= most {
		return key
	}
	return key[:most] + "..."
}

// load reads the cursor. All partitions of a topic that has grown are used from now on, and so are those of one that
// was made again with fewer partitions: a key whose partition changes may be seen out of order for a moment, which
// versions put right.
func (p *publisher) load(ctx context.Context) error {
	cur, err := p.cursors.LoadCursor(ctx, p.Name)
	if err != nil {
		return err
	}
	n, err := p.Publisher.Partitions(ctx)
	if err != nil {
		return err
	}
	for len(cur.Seqs) < n {
		cur.Seqs = append(cur.Seqs, 0)
	}
	if len(cur.Seqs) > n {
		p.Logger.Warn("the topic has fewer partitions than it had", "partitions", n, "before", len(cur.Seqs))
		cur.Seqs = cur.Seqs[:n]
	}
	p.cur, p.saved, p.loaded, p.counted = cur, cur.Position, true, time.Now()
	return nil
}

// skip goes on at the earliest change that is left. One number is left out in every partition, so that followers see
// that something is missing.
func (p *publisher) skip(ctx context.Context) error {
	p.Logger.Error("changes were dropped before they were published; followers will see a gap", "cursor",
		p.cur.Position)
	p.m.resets.WithLabelValues("events").Inc()
	next := coherence.Cursor{Seqs: slices.Clone(p.cur.Seqs)}
	for i := range next.Seqs {
		next.Seqs[i]++
	}
	if err := p.cursors.SaveCursor(ctx, p.Name, next); err != nil {
		return err
	}
	p.cur, p.saved = next, next.Position
	return nil
}
