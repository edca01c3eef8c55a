package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// faultLoad is the load on a peer while a fault lasts.
type faultLoad struct {
	Instances, Keys, WarmReads int
	// Rate is operations per second on each instance. They start on schedule whether or not earlier ones have ended.
	Rate                 int
	FaultTime, AfterTime time.Duration // the length of each phase
	SettleTime           time.Duration // between the last write and the audit
	Deadline             time.Duration // of each operation
}

// faultRun is a peer under this load.
type faultRun struct {
	faultLoad
	faultTarget
	prefix  string
	truth   *sharedSource // what was committed and acknowledged
	peers   []peers.Peer[string]
	writing []atomic.Bool // by key: one writer at a time

	cleanups

	mu         sync.Mutex
	operations []operation
	wg         sync.WaitGroup
}

// newSource makes a source that has all keys.
func (d faultLoad) newSource(prefix string) (*faultySource, *sharedSource) {
	t := &sharedSource{words: make([]uint64, sharedHeaderWords+d.Keys*sharedKeyWords), bytes: 100}
	src := &faultySource{Memory: peers.NewMemory[string](), truth: t, latency: 5 * time.Millisecond}
	for k := range d.Keys {
		src.Seed(keyName(prefix, k), t.value(1))
		atomic.StoreUint64(t.stored(k), 1)
		t.commit(k, 1)
	}
	return src, t
}

// run runs the load before, during and after the fault, and then the audit.
func (s *faultRun) run(ctx context.Context, f fault, noL1 bool) (p faultResult, err error) {
	if err := errors.Join(s.warm(ctx), s.requireL1Hits(ctx, noL1)); err != nil {
		return p, err
	}
	loads := s.source.Loads.Load()
	start, stop := time.Now(), make(chan struct{})
	var starters sync.WaitGroup
	for i := range s.peers {
		starters.Go(func() { s.startOperations(ctx, i, start, stop) })
	}
	time.Sleep(f.lead)
	p.faultStart, p.loads = time.Since(start), s.source.Loads.Load()-loads
	err = f.begin(ctx, &s.faultTarget)
	if err == nil {
		err = f.requireFailing(ctx, &s.faultTarget)
	}
	time.Sleep(s.FaultTime)
	err = errors.Join(err, f.end(ctx, &s.faultTarget))
	p.faultEnd = time.Since(start)
	err = errors.Join(err, f.awaitRecovery(ctx, &s.faultTarget))
	time.Sleep(s.AfterTime)
	close(stop)
	starters.Wait()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		return p, errors.Join(err, errors.New("suite: operations do not end"))
	}
	p.operations = s.operations
	if err != nil {
		return p, err
	}
	time.Sleep(s.SettleTime)
	s.audit(ctx, &p)
	return p, nil
}

// warm makes each instance read what its load will read.
func (s *faultRun) warm(ctx context.Context) error {
	for i, p := range s.peers {
		z := s.zipf(uint64(i))
		keys := make([]string, s.WarmReads)
		for j := range keys {
			keys[j] = keyName(s.prefix, z())
		}
		if err := each(ctx, 32, len(keys), func(j int) error {
			_,
				err := p.Get(ctx, keys[j])
			return err
		}); err != nil {
			return fmt.Errorf("warm: %w", err)
		}
	}
	return nil
}

// requireL1Hits returns an error if an L1 does not hold the keys that are read most.
func (s *faultRun) requireL1Hits(ctx context.Context, noL1 bool) error {
	for _, p := range s.peers {
		st := &fixture[string]{peer: p, noL1: noL1}
		for k := range 10 {
			st.keys = append(st.keys, keyName(s.prefix, k))
		}
		if err := st.fillL1(ctx, 0.9); err != nil {
			return err
		}
	}
	return nil
}

// fillRedis reads four fifths of the keys through an instance that is closed afterwards. They are then in Redis and in
// no L1.
func (s *faultRun) fillRedis(ctx context.Context, p peers.Peer[string]) error {
	takes := s.source.latency
	s.source.latency = 0
	defer func() { s.source.latency = takes }()
	return each(ctx, 16, s.Keys, func(k int) error {
		if k%5 == 4 {
			return nil
		}
		_, err := p.Get(ctx, keyName(s.prefix, k))
		return err
	})
}

// zipf returns a function that picks keys. The distribution is flat at its head, so that every tier has work.
func (s *faultRun) zipf(seed uint64) func() int {
	z := rand.NewZipf(rand.New(rand.NewPCG(seed, rand.Uint64())), 1.1, 10, uint64(s.Keys-1))
	return func() int { return int(z.Uint64()) }
}

// startOperations starts the operations of an instance on schedule.
func (s *faultRun) startOperations(ctx context.Context, i int, start time.Time, stop <-chan struct{}) {
	z := s.zipf(uint64(i))
	for n := 0; ; n++ {
		due := time.Duration(n) * time.Second / time.Duration(s.Rate)
		time.Sleep(due - time.Since(start))
		due = min(time.Since(start),
			due+2*time.Millisecond) // up to 2 ms is the timer's delay and not the read's; more is the busy processor's
		select {
		case <-stop:
			return
		default:
		}
		k := z()
		if n%100 == 99 {
			s.wg.Go(func() { s.write(ctx, i, k, start, due) })
		} else {
			s.wg.Go(func() { s.read(ctx, i, k, start, due) })
		}
	}
}

func (s *faultRun) read(ctx context.Context, i, k int, start time.Time, due time.Duration) {
	limit := start.Add(due + s.Deadline)
	ctx, cancel := context.WithDeadline(ctx, limit)
	defer cancel()
	committed, at := atomic.LoadUint64(s.truth.committed(k)), time.Now()
	v, err := s.peers[i].Get(ctx, keyName(s.prefix, k))
	one := operation{instance: i, due: due, took: time.Since(start) - due, failed: err != nil}
	if seq := sequenceOf(v); err == nil && seq < committed {
		one.stale, one.age = true, s.truth.age(k, seq, committed, at)
	}
	s.record(one)
}

// write writes a key of the instance that has no other writer at the moment. The write is acknowledged when it returns,
// if the source has committed it, even if another part of it has failed.
func (s *faultRun) write(ctx context.Context, i, k int, start time.Time, due time.Duration) {
	k -= k % len(s.peers)
	for k = (k + i) % s.Keys; !s.writing[k].CompareAndSwap(false, true); k = (k + len(s.peers)) % s.Keys {
	}
	defer s.writing[k].Store(false)
	ctx, cancel := context.WithDeadline(ctx, start.Add(due+s.Deadline))
	defer cancel()
	seq := atomic.LoadUint64(s.truth.stored(k)) + 1
	err := s.peers[i].Write(ctx, keyName(s.prefix, k), s.truth.value(seq))
	if atomic.LoadUint64(s.truth.stored(k)) == seq {
		s.truth.commit(k, seq)
	}
	s.record(operation{instance: i, due: due, took: time.Since(start) - due, failed: err != nil, write: true})
}

func (s *faultRun) record(one operation) {
	one.failed = one.failed || one.took > s.Deadline+s.Deadline/10 // a peer may ignore the deadline
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operations = append(s.operations, one)
}

func (s *faultRun) audit(ctx context.Context, p *faultResult) {
	for k := range s.Keys {
		want := atomic.LoadUint64(s.truth.stored(k))
		if want == 1 {
			continue
		}
		for _, instance := range s.peers {
			v, err := s.getWithin(ctx, instance, k)
			p.audited++
			switch {
			case err != nil:
				p.leftFailing++
			case sequenceOf(v) < want:
				p.leftStale++
			}
		}
	}
}

func (s *faultRun) getWithin(ctx context.Context, p peers.Peer[string], k int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Deadline)
	defer cancel()
	return p.Get(ctx, keyName(s.prefix, k))
}
