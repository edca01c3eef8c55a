package nearcachetest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Source is a coherence.Source in memory, with every ability. Give it to nearcache.Config and to a relay to test a
// cache with MaxStaleness without a database. It behaves as Postgres does: transactions may overlap, a key that one of
// them has written is locked until it ends, and nothing counts as settled that is younger than an open transaction. It
// is safe for concurrent use, and works in a bubble of testing/synctest. The values are not in it: use NewTable, or a
// map of your own.
type Source struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something waited for may have come
	err      error
	identity string
	timeline uint64
	next     uint64 // the id of the next transaction
	open     map[uint64]*SourceTx
	locks    map[sourceKey]*SourceTx
	versions map[sourceKey]coherence.Version
	floors   map[string]coherence.Version // of each namespace: its keys have this version at least
	log      []coherence.Event            // committed, by position
	commits  uint64
	waited   uint64 // the commits that Wait has told of
	trimmed  uint64
	cursors  map[string]coherence.Cursor
	leaders  map[string]*term
}

type sourceKey struct{ namespace, key string }

// NewSource returns an empty Source.
func NewSource() *Source {
	return &Source{
		changed: make(chan struct{}), identity: rand.Text(), timeline: 1, next: 1,
		open: map[uint64]*SourceTx{}, locks: map[sourceKey]*SourceTx{},
		versions: map[sourceKey]coherence.Version{}, floors: map[string]coherence.Version{},
		cursors: map[string]coherence.Cursor{}, leaders: map[string]*term{},
	}
}

// Abilities implements coherence.Source.
func (s *Source) Abilities() coherence.Abilities {
	return coherence.Abilities{Leader: s, Cursors: s, Waker: s, Trimmer: s, Bumper: s, Versioner: s, Checker: s,
		Identifier: s, Estimator: s}
}

// Fail makes every method that can return an error return this one, as when the database is down. nil ends that.
func (s *Source) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
	s.wake()
}

// NewTimeline lets the source lose its history, as after a fail-over or a restore: positions from before are void.
func (s *Source) NewTimeline() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timeline++
	s.log, s.trimmed = nil, 0
	s.wake()
}

// Depose ends the leadership of a name, as when the leader's connection breaks.
func (s *Source) Depose(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.leaders[name]; t != nil {
		t.cancel()
		delete(s.leaders, name)
		s.wake()
	}
}

// wake lets whatever waits look again. The caller holds the lock.
func (s *Source) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// SourceTx is a transaction of a Source. One goroutine uses it.
type SourceTx struct {
	s      *Source
	id     uint64
	writes []coherence.Event
	ended  bool
}

// errEnded is what a transaction returns after its end.
var errEnded = errors.New("nearcachetest: the transaction has ended")

// Begin begins a transaction. Until it ends, no position settles that is younger.
func (s *Source) Begin() *SourceTx {
	s.mu.Lock()
	defer s.mu.Unlock()
	tx := &SourceTx{s: s, id: s.next}
	s.next++
	s.open[tx.id] = tx
	return tx
}

// Write counts a key's next version. It waits while another open transaction has written the key, until ctx ends.
func (tx *SourceTx) Write(ctx context.Context, namespace, key string, op coherence.Op) (coherence.Version, error) {
	s, k := tx.s, sourceKey{namespace, key}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.locks[k] != nil && s.locks[k] != tx {
		wait := s.changed
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("nearcachetest: %s %q is locked: %w", namespace, key, err)
		}
	}
	switch {
	case tx.ended:
		return 0, errEnded
	case s.err != nil:
		return 0, s.err
	}
	s.locks[k] = tx
	v := s.version(namespace, key) + 1
	for _, w := range tx.writes {
		if w.Namespace == namespace && (w.Key == key || w.Op == coherence.OpTruncated) {
			v = w.Version + 1
		}
	}
	tx.writes = append(tx.writes, coherence.Event{Namespace: namespace, Key: key, Version: v, Op: op})
	return v, nil
}

// Truncate changes every key of a namespace, by one event. It does not wait for other transactions.
func (tx *SourceTx) Truncate(namespace string) error {
	s := tx.s
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case tx.ended:
		return errEnded
	case s.err != nil:
		return s.err
	}
	v := s.floors[namespace]
	for k, known := range s.versions {
		if k.namespace == namespace {
			v = max(v, known)
		}
	}
	for _, w := range tx.writes {
		if w.Namespace == namespace {
			v = max(v, w.Version)
		}
	}
	tx.writes = append(tx.writes, coherence.Event{Namespace: namespace, Version: v + 1, Op: coherence.OpTruncated})
	return nil
}

// version is a key's committed version. The caller holds the lock.
func (s *Source) version(namespace, key string) coherence.Version {
	return max(s.versions[sourceKey{namespace, key}], s.floors[namespace])
}

// Commit makes the writes visible, all at once.
func (tx *SourceTx) Commit() error {
	tx.s.mu.Lock()
	defer tx.s.mu.Unlock()
	if tx.s.err != nil && !tx.ended {
		tx.end()
		return tx.s.err
	}
	return tx.commit()
}

func (tx *SourceTx) commit() error {
	if tx.ended {
		return errEnded
	}
	for _, e := range tx.writes {
		e.Position, e.Time = coherence.Position{Timeline: tx.s.timeline, N: tx.id + 1}, time.Now()
		if e.Op == coherence.OpTruncated {
			tx.s.floors[e.Namespace] = e.Version
		} else {
			tx.s.versions[sourceKey{e.Namespace, e.Key}] = e.Version
		}
		tx.s.log = append(tx.s.log, e)
	}
	tx.s.commits++
	slices.SortStableFunc(tx.s.log, func(a, b coherence.Event) int { return cmp.Compare(a.Position.N, b.Position.N) })
	tx.end()
	return nil
}

// Rollback undoes the writes. After Commit it does nothing.
func (tx *SourceTx) Rollback() {
	tx.s.mu.Lock()
	defer tx.s.mu.Unlock()
	tx.end()
}

func (tx *SourceTx) end() {
	if tx.ended {
		return
	}
	tx.ended = true
	delete(tx.s.open, tx.id)
	for k, holder := range tx.s.locks {
		if holder == tx {
			delete(tx.s.locks, k)
		}
	}
	tx.s.wake()
}

// Write is a transaction of one write: a change of the key is committed when it returns. It waits while another
// transaction has the key locked.
func (s *Source) Write(namespace, key string, op coherence.Op) coherence.Version {
	tx := s.Begin()
	v, err := tx.Write(context.Background(), namespace, key, op)
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		tx.Rollback()
		return 0
	}
	return v
}

// BumpKey implements coherence.Bumper.
func (s *Source) BumpKey(ctx context.Context, namespace, key string) (coherence.Version, error) {
	tx := s.Begin()
	defer tx.Rollback()
	v, err := tx.Write(ctx, namespace, key, coherence.OpUpdated)
	if err != nil {
		return 0, err
	}
	return v, tx.Commit()
}

// ready is the error that a call is to return. The caller holds the lock.
func (s *Source) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.err
}

// Version implements coherence.Versioner.
func (s *Source) Version(ctx context.Context, namespace, key string) (coherence.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version(namespace, key), s.ready(ctx)
}

// Position implements coherence.Source.
func (s *Source) Position(ctx context.Context) (coherence.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return coherence.Position{}, err
	}
	return coherence.Position{Timeline: s.timeline, N: s.next}, nil
}

// settled is the position below which no transaction is open. The caller holds the lock.
func (s *Source) settled() coherence.Position {
	n := s.next
	for id := range s.open {
		n = min(n, id)
	}
	return coherence.Position{Timeline: s.timeline, N: n}
}

// Changes implements coherence.Source. The Part of a position counts a transaction's changes.
func (s *Source) Changes(ctx context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return nil, coherence.Position{}, err
	}
	if !after.IsZero() && (after.Timeline != s.timeline || after.N < s.trimmed || after.N > s.next) {
		return nil, coherence.Position{}, fmt.Errorf("nearcachetest: %w: %v", coherence.ErrTrimmed, after)
	}
	upto := s.settled()
	if after.Covers(upto) {
		upto = after
	}
	if limit <= 0 {
		return nil, upto, nil
	}
	from, _ := slices.BinarySearchFunc(s.log, after.N, func(e coherence.Event, n uint64) int {
		return cmp.Compare(e.Position.N, n+1)
	})
	for part := after.Part; part > 0 && from < len(s.log) && s.log[from].Position.N == after.N+1; part-- {
		from++
	}
	to := from
	for to < len(s.log) && to-from < limit && upto.Covers(s.log[to].Position) {
		to++
	}
	events := slices.Clone(s.log[from:to])
	if to < len(s.log) && to > from && upto.Covers(s.log[to].Position) {
		upto = s.endOf(to)
	}
	return events, upto, nil
}

// endOf is the position after the first n changes of the log, and before the next. The caller holds the lock.
func (s *Source) endOf(n int) coherence.Position {
	upto := s.log[n-1].Position
	if s.log[n].Position == upto {
		first := n - 1
		for first > 0 && s.log[first-1].Position == upto {
			first--
		}
		upto.N, upto.Part = upto.N-1, uint64(n-first)
	}
	return upto
}

// EstimateBacklog implements coherence.Estimator. It is exact.
func (s *Source) EstimateBacklog(ctx context.Context, after coherence.Position) (b coherence.Backlog, err error) {
	events, _, err := s.Changes(ctx, after, math.MaxInt)
	if b.Changes = int64(len(events)); b.Changes > 0 {
		b.Oldest = events[0].Time
	}
	return b, err
}

// LoadCursor implements coherence.Cursors.
func (s *Source) LoadCursor(ctx context.Context, name string) (coherence.Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return coherence.Cursor{}, err
	}
	c := s.cursors[name]
	c.Seqs = slices.Clone(c.Seqs)
	return c, nil
}

// SaveCursor implements coherence.Cursors.
func (s *Source) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	if old := s.cursors[name].Position; old != c.Position && old.Covers(c.Position) {
		return fmt.Errorf("nearcachetest: cursor %q is past %v already: another relay is at work", name, c.Position)
	}
	c.Seqs = slices.Clone(c.Seqs)
	s.cursors[name] = c
	return nil
}

// Trim implements coherence.Trimmer.
func (s *Source) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	n, before := 0, time.Now().Add(-keep)
	for n < len(s.log) && upto.Covers(s.log[n].Position) && !s.log[n].Time.After(before) {
		n++
	}
	for n > 0 && n < len(s.log) && s.log[n].Position == s.log[n-1].Position {
		n-- // a transaction goes whole or not at all
	}
	if n > 0 {
		s.trimmed = s.log[n-1].Position.N
		s.log = slices.Clone(s.log[n:])
	}
	return int64(n), nil
}

// Lead implements coherence.Leader.
func (s *Source) Lead(ctx context.Context, name string) (leading context.Context, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.leaders[name] != nil || s.ready(ctx) != nil {
		if err := s.ready(ctx); err != nil {
			return nil, nil, err
		}
		wait := s.changed
		s.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	leading, cancel := context.WithCancel(ctx)
	t := &term{cancel}
	s.leaders[name] = t
	return leading, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		cancel()
		if s.leaders[name] == t { // otherwise somebody else leads by now
			delete(s.leaders, name)
			s.wake()
		}
	}, nil
}

// term is one leadership.
type term struct{ cancel context.CancelFunc }

// Wait implements coherence.Waker. A commit since the last call counts too.
func (s *Source) Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for expired := false; s.waited == s.commits && !expired; {
		if err := s.ready(ctx); err != nil {
			return err
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-t.C:
			expired = true
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	s.waited = s.commits
	return s.ready(ctx)
}

// Check implements coherence.Checker: nothing can be wrong with it.
func (s *Source) Check(ctx context.Context) ([]coherence.Finding, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nil, s.ready(ctx)
}

// Identity implements coherence.Identifier: every Source is a system of its own.
func (s *Source) Identity(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity, s.ready(ctx)
}

// Table is a table in memory whose writes a Source counts.
type Table[V any] struct {
	s         *Source
	namespace string
	rows      map[string]V
}

// NewTable returns an empty table whose keys are those of a namespace of the Source. Nothing else may write the
// namespace.
func NewTable[V any](s *Source, namespace string) *Table[V] {
	return &Table[V]{s: s, namespace: namespace, rows: map[string]V{}}
}

// Put writes a row in a transaction of its own and returns its version.
func (t *Table[V]) Put(key string, v V) (coherence.Version, error) {
	return t.write(key, coherence.OpUpdated, func() { t.rows[key] = v })
}

// Delete removes a row in a transaction of its own and returns the version of its absence.
func (t *Table[V]) Delete(key string) (coherence.Version, error) {
	return t.write(key, coherence.OpDeleted, func() { delete(t.rows, key) })
}

func (t *Table[V]) write(key string, op coherence.Op, apply func()) (coherence.Version, error) {
	tx := t.s.Begin()
	defer tx.Rollback()
	v, err := tx.Write(context.Background(), t.namespace, key, op)
	if err != nil {
		return 0, err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.err != nil {
		tx.end()
		return 0, t.s.err
	}
	apply()
	return v, tx.commit()
}

// Load reads a row and its version in one step, as a Loader must. ok is false if there is no such row.
func (t *Table[V]) Load(ctx context.Context, key string) (v V, version coherence.Version, ok bool, err error) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.s.ready(ctx); err != nil {
		return v, 0, false, err
	}
	v, ok = t.rows[key]
	return v, t.s.versions[sourceKey{t.namespace, key}], ok, nil
}
