//go:build unix

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/nearcache"
)

const writeTimeout = 3 * time.Second

// writeLog numbers a process's writes and records them.
type writeLog struct {
	hist    *history.Log
	process uint16
	last    atomic.Uint64
}

// number numbers a write; no other write of the run has it.
func (s *writeLog) number() uint64 { return uint64(s.process)<<40 | s.last.Add(1) }

// body is a value that no other write makes.
func body(rnd *rand.Rand, number uint64) string {
	return fmt.Sprintf("%x %s", number, strings.Repeat("*", rnd.IntN(200)))
}

// begins records that a write may commit from now on, whatever becomes of this process.
func (s *writeLog) begins(c change) {
	now := s.hist.Now()
	s.hist.AppendNow(&history.Record{Op: history.Begin, Key: c.key, Hash: c.number, Invoke: now, Return: now})
}

// ended records what the database said.
func (s *writeLog) ended(c change, version uint64, err error) {
	now := s.hist.Now()
	r := history.Record{Op: history.End, Key: c.key, Hash: c.number, Invoke: now, Return: now, Version: version}
	switch {
	case errors.Is(err, errNothing):
		r.Flags = history.Failed
	case err != nil:
		r.Flags = history.Unknown
	}
	s.hist.AppendNow(&r)
}

// write writes at the instance's rate, through the cache, until ctx ends.
func (m *instance) write(ctx context.Context, writer int) {
	rnd := rand.New(rand.NewPCG(m.Seed, uint64(m.Process)<<16|0x8000|uint64(writer)))
	ks, s := newKeys(rnd, m.Keys), &writeLog{hist: m.hist, process: m.Process}
	s.last.Store(uint64(writer) << 32)
	for ctx.Err() == nil {
		pause(ctx, time.Duration(rnd.ExpFloat64()*2/m.Writes*float64(time.Second)))
		m.writers.enter()
		if ctx.Err() == nil {
			m.writeOnce(ctx, rnd, s, ks.next())
		}
		m.writers.leave()
	}
}

// writeOnce deletes or writes, by one of the methods that the cache has for it.
func (m *instance) writeOnce(ctx context.Context, rnd *rand.Rand, s *writeLog, k uint32) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	c := change{key: k, number: s.number()}
	if rnd.IntN(5) > 0 {
		c.body = body(rnd, c.number)
	}
	open := time.Duration(rnd.Int64N(int64(m.Hold) + 1))
	commit := func(ctx context.Context) (nearcache.Version, error) { return m.commit(ctx, s, c, open) }
	entry := func(v nearcache.Version) nearcache.Entry[item] {
		return nearcache.Entry[item]{Value: item{Version: uint64(v), Body: c.body}, Version: v}
	}
	s.begins(c)
	var v nearcache.Version
	var err error
	switch kind := rnd.IntN(10); {
	case c.body == "" || kind < 4:
		v, err = m.cache.Write(ctx, k, commit)
	case kind < 8:
		v, err = m.cache.WriteEntry(ctx, k, func(ctx context.Context) (nearcache.Entry[item], error) {
			v, err := commit(ctx)
			return entry(v), err
		})
	case kind < 9:
		if v, err = commit(ctx); err == nil {
			err = m.cache.Set(ctx, k, entry(v))
		}
	default:
		if v, err = commit(ctx); err == nil {
			err = m.cache.Invalidate(ctx, k, v)
		}
	}
	if err == nil {
		now := m.hist.Now()
		m.hist.AppendNow(&history.Record{Op: history.Invalidated, Key: k, Hash: c.number, Invoke: now, Return: now})
		m.saw(k, uint64(v))
	}
}

// commit is a write's transaction. After the command "die" the process kills itself right after the commit.
func (m *instance) commit(ctx context.Context, s *writeLog, c change, open time.Duration) (nearcache.Version, error) {
	vs, err := m.store.write(ctx, []change{c}, open)
	var v uint64
	if err == nil {
		v = vs[0]
	}
	s.ended(c, v, err)
	if err == nil && m.crash.Load() {
		_ = m.hist.Flush()
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	if errors.Is(err, errNothing) {
		err = fmt.Errorf("%w: %w", nearcache.ErrNotCommitted, err)
	}
	return nearcache.Version(v), err
}

// writer writes SQL without a cache: several keys in one transaction, some of them open for a while.
func (c *child) writer(ctx context.Context) error {
	hist, err := history.Create(c.Log, history.Header{Process: c.Process, Instance: history.NoInstance})
	if err != nil {
		return err
	}
	st, err := openStore(ctx, c.Source, c.Address, 8)
	if err != nil {
		return err
	}
	defer st.close()
	g := newGate()
	const writers = 4
	finished := make(chan struct{}, writers)
	for i := range writers {
		go func() {
			defer func() { finished <- struct{}{} }()
			c.writeSQL(ctx, i, st, hist, g)
		}()
	}
	t := time.NewTicker(reportEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case cmd := <-c.commands:
			if cmd == "pause" {
				g.shut()
			} else {
				g.open()
			}
			c.done++
		case <-t.C:
		}
		c.report(status{At: hist.Now(), Ready: true, Done: c.done})
	}
	g.open() // a run ends while they are paused
	for range writers {
		<-finished
	}
	return hist.Close()
}

// writeSQL is one of the foreign writer's goroutines.
func (c *child) writeSQL(ctx context.Context, writer int, st store, hist *history.Log, g *gate) {
	rnd := rand.New(rand.NewPCG(c.Seed, uint64(c.Process)<<16|uint64(writer)))
	ks, s := newKeys(rnd, c.Keys), &writeLog{hist: hist, process: c.Process}
	s.last.Store(uint64(writer) << 32)
	for ctx.Err() == nil {
		pause(ctx, time.Duration(rnd.ExpFloat64()*4/c.Writes*float64(time.Second)))
		var changes []change
		for range 1 + rnd.IntN(8)/6 {
			ch := change{key: ks.next(), number: s.number()}
			if rnd.IntN(5) > 0 {
				ch.body = body(rnd, ch.number)
			}
			changes = append(changes, ch)
		}
		// In order of keys: two transactions never wait for each other in a circle.
		slices.SortFunc(changes, func(a, b change) int { return int(a.key) - int(b.key) })
		changes = slices.CompactFunc(changes, func(a, b change) bool { return a.key == b.key })
		g.enter()
		if ctx.Err() != nil {
			g.leave()
			return
		}
		write, cancel := context.WithTimeout(ctx, writeTimeout)
		for _, ch := range changes {
			s.begins(ch)
		}
		vs, err := st.write(write, changes, time.Duration(rnd.Int64N(int64(c.Hold)+1)))
		for i, ch := range changes {
			v := uint64(0)
			if err == nil {
				v = vs[i]
			}
			s.ended(ch, v, err)
		}
		cancel()
		g.leave()
	}
}
