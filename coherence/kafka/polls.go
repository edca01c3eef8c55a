package kafka

import "time"

// A poll is a request that the broker holds while it has nothing to answer. A gatherer of polls keeps all partitions
// of a leader in one request, since a partition that is in none hears of its records late:
//
//   - A poll that ends with a record for one partition is answered to that one only. The others are asked for again at
//     once, and wake nobody.
//   - The next request waits for the partitions that were answered, since they ask again within moments. It waits for
//     each partition once, and not for long.
//   - A partition that took longer is in a request of its own. It ends together with that of the others, so that all
//     are in one request again.
//   - The request that takes the last turn at a leader is held for a moment: a partition that comes then waits for it.
type polls[A any] struct {
	// tells reports whether an answer tells something. Other answers are given when their part has waited for long
	// enough.
	tells func(A) bool
}

const (
	joinFor    = 10 * time.Millisecond  // how long a request waits for those that are about to join it
	sameEnd    = 10 * time.Millisecond  // what ends within it ends together
	lastHold   = 100 * time.Millisecond // of the request that takes the last turn,
	busyHold   = 10 * time.Millisecond  // and the same within busyFor after an answer that told something
	busyFor    = time.Second
	leastPause = 100 * time.Microsecond // a shorter one is none
)

// polling is what a queue knows of its polls. The gatherer's mu guards it.
type polling struct {
	under   map[*poll]struct{}
	joining map[partitionName]time.Time // those that are about to ask again, and until when they are waited for
	joined  chan struct{}               // receives when the last of them has asked, or a poll has ended; buffered
	told    time.Time                   // when a poll last told something
}

// poll is one that is under way.
type poll struct {
	hold time.Duration
	ends time.Time // if the broker has nothing to answer
}

// begin notes a poll for parts that may wait for so long. last says that it takes the last turn.
func (s *polling) begin(parts []partitionName, wait time.Duration, last bool) *poll {
	now := time.Now()
	if last {
		most := lastHold
		if !s.told.IsZero() && now.Sub(s.told) < busyFor {
			most = busyHold
		}
		wait = min(wait, most)
	}
	for other := range s.under {
		if left := other.ends.Sub(now); left > sameEnd {
			wait = min(wait, left)
		}
	}
	for _, name := range parts {
		delete(s.joining, name)
	}
	if s.under == nil {
		s.under, s.joining, s.joined = make(map[*poll]struct{}), make(map[partitionName]time.Time), make(chan struct{}, 1)
	}
	p := &poll{wait, now.Add(wait)}
	s.under[p] = struct{}{}
	return p
}

// joins notes that a part has asked.
func (s *polling) joins(name partitionName) {
	if _, ok := s.joining[name]; !ok {
		return
	}
	if delete(s.joining, name); len(s.joining) == 0 {
		s.signal()
	}
}

func (s *polling) signal() {
	select {
	case s.joined <- struct{}{}:
	default:
	}
}

// until is when the next request need not wait any longer: for those that are about to ask again, and for polls that
// are about to end.
func (s *polling) until(now time.Time) (until time.Time) {
	for name, at := range s.joining {
		if !at.After(now) {
			delete(s.joining, name)
		} else if at.After(until) {
			until = at
		}
	}
	for p := range s.under {
		left := p.ends.Sub(now)
		if p.hold > busyHold && left > -joinFor && left <= sameEnd && p.ends.Add(joinFor).After(until) {
			until = p.ends.Add(joinFor)
		}
	}
	return until
}

// awaitJoining waits for the parts that the next request is to have, but for twice joinFor at most.
func (g *gatherer[Q, A]) awaitJoining(q *queue[Q, A]) {
	limit := time.Now().Add(2 * joinFor)
	for {
		g.mu.Lock()
		now := time.Now()
		until, joined := q.polling.until(now), q.polling.joined
		g.mu.Unlock()
		if until.After(limit) {
			until = limit
		}
		if until.Sub(now) < leastPause {
			return
		}
		t := time.NewTimer(until.Sub(now))
		select {
		case <-joined:
		case <-t.C:
		case <-g.life.Done():
		}
		t.Stop()
		if g.life.Err() != nil {
			return
		}
	}
}

// endPoll ends a poll, and returns the parts that it answers, with their answers. The others go to the next one.
func (g *gatherer[Q, A]) endPoll(q *queue[Q, A], p *poll, batch []*pending[Q, A], answers []A, err error) (
	[]*pending[Q, A], []A) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, s := time.Now(), &q.polling
	delete(s.under, p)
	told := false
	for i := range answers {
		told = told || err == nil && g.polls.tells(answers[i])
	}
	if told {
		s.told = now
	}
	over := p.hold > 0 && !told // all are answered then, so that they go on waiting together
	var done []*pending[Q, A]
	var theirs []A
	for i, part := range batch {
		switch {
		case err != nil:
			done = append(done, part)
			continue
		case g.closed || over || g.polls.tells(answers[i]) || now.After(part.until.Add(-sameEnd)):
			done, theirs = append(done, part), append(theirs, answers[i])
		default:
			q.waiting = append(q.waiting, part)
			continue
		}
		if part.ctx.Err() == nil {
			s.joining[part.part.name()] = now.Add(joinFor)
		}
	}
	s.signal()
	return done, theirs
}

// shortest is how long all parts of a batch may still wait.
func shortest[Q gathered, A any](batch []*pending[Q, A]) time.Duration {
	now := time.Now()
	wait := batch[0].until.Sub(now)
	for _, p := range batch {
		wait = min(wait, p.until.Sub(now))
	}
	return max(wait, 0)
}
