package peers

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Memory is a source of truth in this process. It implements coherence.Source for the namespace of the near cache's
// adapter.
type Memory[V any] struct {
	Loads     atomic.Int64
	LoadDelay time.Duration // the time that a load takes

	mu     sync.RWMutex
	rows   map[string]row[V]
	events []coherence.Event
	base   uint64 // the number of commits before events[0]
}

type row[V any] struct {
	v       V
	version uint64
	gone    bool
}

// NewMemory returns an empty source.
func NewMemory[V any]() *Memory[V] { return &Memory[V]{rows: map[string]row[V]{}, base: 1} }

// Seed stores a value with version 1 and without an event.
func (m *Memory[V]) Seed(key string, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows[key] = row[V]{v: v, version: 1}
}

// Load implements Source.
func (m *Memory[V]) Load(_ context.Context, key string) (V, uint64, error) {
	m.Loads.Add(1)
	if m.LoadDelay > 0 {
		time.Sleep(m.LoadDelay)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.rows[key]
	if !ok || r.gone {
		return r.v, r.version, ErrMiss
	}
	return r.v, r.version, nil
}

// Store implements Source.
func (m *Memory[V]) Store(_ context.Context, key string, v V) (uint64, error) {
	return m.commit(key, row[V]{v: v}), nil
}

// Remove implements Source.
func (m *Memory[V]) Remove(_ context.Context, key string) (uint64, error) {
	return m.commit(key, row[V]{gone: true}), nil
}

func (m *Memory[V]) commit(key string, r row[V]) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.version = m.rows[key].version + 1
	m.rows[key] = r
	m.events = append(m.events, coherence.Event{Namespace: namespace, Key: key, Version: coherence.Version(r.version),
		Position: coherence.Position{Timeline: 1, N: m.base + uint64(len(m.events)) + 1}, Time: time.Now()})
	return r.version
}

// Position implements coherence.Source.
func (m *Memory[V]) Position(context.Context) (coherence.Position, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return coherence.Position{Timeline: 1, N: m.base + uint64(len(m.events))}, nil
}

// Abilities implements coherence.Source.
func (m *Memory[V]) Abilities() coherence.Abilities { return coherence.Abilities{Trimmer: m} }

// Changes implements coherence.Source.
func (m *Memory[V]) Changes(_ context.Context, after coherence.Position, limit int) ([]coherence.Event,
	coherence.Position, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	upto := coherence.Position{Timeline: 1, N: m.base + uint64(len(m.events))}
	switch {
	case limit == 0:
		return nil, upto, nil
	case !after.IsZero() && (after.Timeline != 1 || after.N < m.base):
		return nil, upto, coherence.ErrTrimmed
	}
	from := int(max(after.N, m.base) - m.base)
	end := min(len(m.events), from+limit)
	if end < len(m.events) {
		upto.N = m.base + uint64(end)
	}
	return m.events[from:end:end], upto, nil
}

// Trim implements coherence.Trimmer. A run of half a minute makes tens of thousands of commits.
func (m *Memory[V]) Trim(_ context.Context, upto coherence.Position, keep time.Duration) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, oldest := 0, time.Now().Add(-keep)
	for n < len(m.events) && m.events[n].Position.N <= upto.N && m.events[n].Time.Before(oldest) {
		n++
	}
	m.events = append([]coherence.Event(nil), m.events[n:]...)
	m.base += uint64(n)
	return int64(n), nil
}
