package nearcache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// script is bytes that are read as choices.
type script []byte

func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) uint64() uint64 {
	var b [8]byte
	for i := range b {
		b[i] = s.next()
	}
	return binary.BigEndian.Uint64(b[:])
}

// int64 is an extreme, an ordinary number, or any.
func (s *script) int64(ordinary ...int64) int64 {
	extremes := []int64{0, 0, 0, -1, 1, math.MinInt64, math.MaxInt64, int64(time.Millisecond)}
	all := append(extremes, ordinary...)
	switch i := int(s.next()); {
	case i == 255:
		return int64(s.uint64())
	default:
		return all[i%len(all)]
	}
}

func (s *script) duration() time.Duration {
	return time.Duration(s.int64(int64(time.Second), int64(time.Second), int64(3*time.Second), int64(50*time.Millisecond)))
}

func (s *script) float() float64 {
	return []float64{0, 0, 0, 0.5, 0.9, 1, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64,
		math.SmallestNonzeroFloat64}[s.next()%12]
}

// options are drawn from the script.
func (s *script) options() (o nearcache.Options[string, string]) {
	o.TTL, o.AbsentTTL, o.LoadTimeout = s.duration(), s.duration(), s.duration()
	o.LeaseTTL, o.LeaseWait, o.WriteTTL, o.ErrorTTL = s.duration(), s.duration(), s.duration(), s.duration()
	o.Jitter, o.Refresh.After, o.Refresh.Beta = s.float(), s.float(), s.float()
	o.FailSafe = nearcache.FailSafe{MaxAge: s.duration(), SoftTimeout: s.duration(), BeyondBound: s.next()&1 == 1}
	o.MaxStaleness = s.duration()
	o.Clearable = s.next()&1 == 1
	o.L1Bytes, o.MaxLoads = s.int64(1<<20), int(s.int64(1, 4))
	o.Schema, o.Lossy = uint32(s.next()), nearcache.LossyPolicy(s.next()%4)
	if s.next()&1 == 1 {
		size := s.int64(10)
		o.Size = func(string) int64 { return size }
	}
	o.CheckShared = s.next()%8 == 7
	o.Audit = nearcache.Audit[string, string]{Rate: s.float(), Wait: s.duration()}
	return o
}

// ordinaryBytes are a script whose options are all defaults but for an L1 of a mebibyte, before its calls.
var ordinaryBytes = make([]byte, 3+23)

func FuzzOptionsAndCalls(f *testing.F) {
	calls := []byte{0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 1, 0, 1, 4, 2, 6, 0, 5, 0, 0, 7, 0, 8, 0, 9, 1, 0, 0, 9, 0, 0, 0}
	f.Add(append(append([]byte{}, ordinaryBytes...), calls...))
	f.Add(append(append([]byte{1, 2, 8}, make([]byte, 30)...), calls...))
	for i := range byte(24) {
		b := append(append([]byte{}, ordinaryBytes...), calls...)
		b[i] = 3 + i%9
		f.Add(b)
		many := make([]byte, 120)
		for j := range many {
			many[j] = byte(j*int(2*i+1)) % 251 % (3 + i)
		}
		f.Add(many)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			t.Skip()
		}
		synctest.Test(t, func(t *testing.T) { runScript(t, script(b), mostHeartbeats) })
	})
}

// The script waits 40 times for 4s, in a client whose heartbeats are 1ms apart because of a bound.
func TestScript_SimulatesFewHeartbeats(t *testing.T) {
	const source, heartbeat, millisecond = 1, 3, 7
	options := make([]byte, 22)
	options[13] = 10 // MaxStaleness is 3s
	b := append([]byte{source, heartbeat, millisecond, 0}, options...)
	for range 40 {
		b = append(b, 0, 2, 10, 2)
	}
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		const most = 200
		runScript(t, b, most)
		took, bound := time.Since(begun), most*time.Millisecond
		if took < bound || took > bound+slack {
			t.Errorf("the script took %v, want %v and at most %v for Close", took, bound, slack)
		}
	})
}

// runScript makes the calls of a script, for so many heartbeats at most.
func runScript(t *testing.T, s script, most int) {
	r, err := nearcachetest.StartRedis("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	src := nearcachetest.NewSource()
	table := nearcachetest.NewTable[string](src, "t")
	cfg := nearcache.Config{Redis: r.PipeOption(), Logger: slog.New(slog.DiscardHandler)}
	if s.next()&1 == 1 {
		cfg.Source = src
	}
	if s.next()%4 == 3 {
		cfg.Heartbeat = s.duration()
	}
	if s.next()%4 == 3 {
		cfg.RedisTimeout = s.duration()
	}
	client, err := nearcache.New(cfg)
	if err != nil {
		return // refused
	}
	defer func() { finish(t, "Close", func() { _ = client.Close() }) }()
	o := s.options()
	ttl := s.duration()
	o.Load = func(ctx context.Context, k string) (nearcache.Entry[string], error) {
		v, version, ok, err := table.Load(ctx, k)
		if err == nil && !ok {
			err = nearcache.ErrNotFound
		}
		return nearcache.Entry[string]{Value: v, Version: version, TTL: ttl, Tags: []string{"tag"}[:len(k)%2]}, err
	}
	cache, err := nearcache.NewCache(client, "t", o)
	if err != nil {
		return
	}
	m := model{t: t, s: &s, client: client, cache: cache, table: table, written: map[string]bool{},
		least: map[string]nearcache.Version{}, end: time.Now().Add(longest(cfg.Heartbeat, most))}
	for range 40 {
		if len(s) == 0 || t.Failed() || time.Until(m.end) <= 0 {
			return
		}
		m.call()
	}
}

// mostHeartbeats bounds how many heartbeats one script simulates. The fuzzing engine kills a worker whose input takes
// ten seconds, and reports it as hung. A heartbeat costs up to half a millisecond of processor time, so a script that
// waits for minutes with a heartbeat of one millisecond would reach that limit.
const mostHeartbeats = 2000

// longest is how long a script may go on, by the bubble's clock, if it may simulate so many heartbeats. A heartbeat of
// 0 means a default of 100ms or more.
func longest(heartbeat time.Duration, most int) time.Duration {
	if heartbeat == 0 || heartbeat > 100*time.Millisecond {
		heartbeat = 100 * time.Millisecond
	}
	return time.Duration(most) * heartbeat
}

// model knows what was written, and calls the cache by the script.
type model struct {
	t       *testing.T
	s       *script
	client  *nearcache.Client
	cache   *nearcache.Cache[string, string]
	table   *nearcachetest.Table[string]
	written map[string]bool              // "key=value"
	least   map[string]nearcache.Version // that a later read of this instance may return
	end     time.Time                    // of the script
}

// slack is how much later than its context's end a call may return.
const slack = 5 * time.Second

func (m *model) call() {
	k := []string{"a", "bb", "", "\nnc:{7}"}[m.s.next()%4]
	limit := min([]time.Duration{time.Second, 10 * time.Millisecond, 3 * time.Second}[m.s.next()%3], time.Until(m.end))
	ctx, stop := context.WithTimeout(m.t.Context(), limit)
	defer stop()
	what, f := m.choose(ctx, k)
	begun := time.Now()
	finish(m.t, what, f)
	if took := time.Since(begun); took > limit+slack {
		m.t.Errorf("%s took %v with a context of %v", what, took, limit)
	}
}

func (m *model) choose(ctx context.Context, k string) (string, func()) {
	switch m.s.next() % 11 {
	case 0:
		return "Get", func() {
			v, err := m.cache.Get(ctx, k)
			m.check(k, v, err)
		}
	case 1:
		ro := nearcache.ReadOptions{MaxStaleness: m.s.duration(), ServeStale: m.s.duration(), Fresh: m.s.next()&1 == 1}
		if m.s.next()%4 == 3 {
			ro.AtLeast = nearcache.Version(m.s.int64(1, 2))
		}
		return fmt.Sprintf("Read with %+v", ro), func() {
			r, err := m.cache.Read(ctx, k, ro)
			m.check(k, r.Value, err)
			if err == nil && !r.Stale && r.Version < m.least[k] {
				m.t.Errorf("Read(%q): version %d after an acknowledged write of %d", k, r.Version, m.least[k])
			}
		}
	case 2:
		return "GetMany", func() {
			got, err := m.cache.GetMany(ctx, []string{k, "a", "bb", k})
			for k, v := range got {
				m.check(k, v, nil)
			}
			_ = err
		}
	case 3, 4:
		return "Write", func() {
			v, err := m.cache.Write(ctx, k, func(context.Context) (nearcache.Version, error) { return m.put(k) })
			if err == nil {
				m.least[k] = max(m.least[k], v)
			}
		}
	case 5:
		ttl := m.s.duration()
		return "Set", func() {
			if v, err := m.put(k); err == nil {
				value, version, _, _ := m.table.Load(m.t.Context(), k)
				if version == v && m.cache.Set(ctx, k, nearcache.Entry[string]{Value: value, Version: v, TTL: ttl}) == nil {
					m.least[k] = max(m.least[k], v)
				}
			}
		}
	case 6:
		return "Invalidate", func() { _ = m.cache.Invalidate(ctx, k, 0) }
	case 7:
		return "InvalidateTag", func() { _ = m.cache.InvalidateTag(ctx, "tag") }
	case 8:
		return "Clear", func() { _ = m.cache.Clear(ctx) }
	case 9:
		mode := nearcache.Mode(m.s.next() % 4)
		return "SetMode", func() { _ = m.client.SetMode(mode) }
	}
	wait := []time.Duration{time.Millisecond, 100 * time.Millisecond, 4 * time.Second}[m.s.next()%3]
	wait = min(wait, time.Until(m.end))
	return "waiting", func() { synctest.Wait(); time.Sleep(wait) }
}

// put writes the next value of a key to the source.
func (m *model) put(k string) (nearcache.Version, error) {
	value := fmt.Sprintf("value %d", len(m.written))
	m.written[k+"="+value] = true
	return m.table.Put(k, value)
}

// check is of a read's outcome: a value was written, and an error is one that a read may have.
func (m *model) check(k, v string, err error) {
	switch {
	case err == nil && !m.written[k+"="+v]:
		m.t.Errorf("%q is %q, which was never written", k, v)
	case errors.Is(err, nearcache.ErrPanic):
		m.t.Errorf("%q: %v", k, err)
	}
}
