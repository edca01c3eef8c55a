package nearcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/audit"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Audit compares a sample of what reads get with the source: no proof within the cache can see a writer that the
// trigger does not count, a key that Go and SQL spell differently, or a Loader that reads a replica. What it finds is
// in Status, in the metrics and in the log; `nearcache audit` does the same for the records in Redis.
//
// A difference is followed: the cache is read again 100 ms, 1 s, 10 s and 1 min later, until it has what the source had
// when the difference was seen. One that lasts for Wait is an inconsistency, and is explained.
type Audit[K comparable, V any] struct {
	// Rate is how many reads a second are compared at most, each at the cost of a call of the Loader. A hit in L1 costs
	// what it costs without, but for the one that is taken. At most 1,000. Defaults to 0: none.
	Rate float64
	// Wait is how long a difference lasts before it is an inconsistency. Defaults to Options.MaxStaleness, and to a
	// second in a cache without a bound. A cache without a relay needs as long as its TTL.
	Wait time.Duration
	// Load reads the source for the auditor: its primary, value and version in one snapshot. Defaults to the cache's own
	// Loader. Then one that reads a replica is found by Config.Source alone, which counts the versions.
	Load Loader[K, V]
	// Equal compares values. Defaults to the Codec's Comparer, or to comparing encodings.
	Equal func(a, b V) bool
	// Found is called with each inconsistency, and may be called concurrently. It must not wait for anything. Defaults
	// to none.
	Found func(Difference)
}

// Difference is an inconsistency that the auditor has found.
type Difference struct {
	Cache        string
	Key          string // its name, as in Redis
	Tier         string // that served it
	Served       Version
	ServedAbsent bool
	Source       Version
	SourceAbsent bool
	Seen         time.Time
	Lasted       time.Duration // until it was explained. 0: a damaged record, which was not served
	Cause        string        // one of those in docs/reference/audit.md
	Text         string        // what shows the cause, and what to do
}

// AuditStatus is what the auditor of a cache has found so far.
type AuditStatus struct {
	On           bool
	Wait         time.Duration // how long a difference lasts before it is an inconsistency
	Reads        uint64        // that were compared with the source
	Undecided    uint64        // samples that could not be judged: the source did not answer, or changed too often
	Inconsistent uint64        // differences that lasted, and damaged records
	Scales       []AuditScale
	Differences  []Difference // the first 15 and the latest
}

// AuditScale is the consistency within a time: what part of the reads was not older than the source so long before.
type AuditScale struct {
	Within       time.Duration
	Judged       uint64
	Inconsistent uint64
	Share        float64 // of the reads that were consistent
	Low, High    float64 // where the true share lies, with 95% confidence
	Nines        float64 // of Low: 3 is 99.9%
}

const (
	maxAuditRate     = 1000
	defaultAuditWait = time.Second
	auditPatience    = 250 * time.Millisecond // until the next read is taken, however many have gone by
	auditDamaged     = 16                     // damaged records that wait to be reported
	auditShown       = 10 * time.Minute       // for so long Status has a reason after an inconsistency
)

// validate fills in defaults.
func (a *Audit[K, V]) validate(maxStaleness time.Duration, refuse func(string, ...any)) {
	if !(a.Rate >= 0 && a.Rate <= maxAuditRate) {
		refuse("Audit.Rate is %v: 0 to %d", a.Rate, maxAuditRate)
	}
	if err := checkDuration("Audit.Wait", &a.Wait, 0); err != nil {
		refuse("%w", err)
	}
	if a.Rate == 0 && (a.Wait > 0 || a.Load != nil || a.Equal != nil || a.Found != nil) {
		refuse("Audit.Rate is 0 and another field of Audit is set: nothing is audited")
	}
	if a.Wait == 0 {
		a.Wait = defaultAuditWait
		if maxStaleness > 0 {
			a.Wait = maxStaleness
		}
	}
}

// auditor takes the samples of one cache. nil: there is none.
type auditor[K comparable, V any] struct {
	c      *Cache[K, V]
	opt    Audit[K, V]
	engine *audit.Auditor[K, V]
	done   chan struct{}

	wanted  atomic.Int32 // the read that counts it down to 0 is taken; 0 or less: none is
	hits    chan *entry[K, V]
	below   chan sampled[K, V]
	damaged chan damagedRecord

	memory auditMemory

	mu     sync.Mutex
	logged map[string]time.Time // by cause
	last   *Difference
}

// sampled is a read that L1 did not serve.
type sampled[K comparable, V any] struct {
	k     K
	state audit.State[V]
}

// damagedRecord is a record that no near cache has written.
type damagedRecord struct {
	name string
	why  string
}

// newAudit makes the auditor. It must be there before the client knows of the cache, and reads begin with startAudit.
func (c *Cache[K, V]) newAudit() {
	a := &auditor[K, V]{c: c, opt: c.opt.Audit, done: make(chan struct{}), hits: make(chan *entry[K, V], 1),
		below: make(chan sampled[K, V], 1), damaged: make(chan damagedRecord, auditDamaged)}
	a.engine = audit.New(audit.Config[K, V]{Wait: a.opt.Wait, Serve: a.serve, Source: a.source, Same: a.same,
		Explain: a.explain, Found: a.found, Undecided: func() { c.m.auditUndecided().Inc() },
		Judged: func(within time.Duration, inconsistent bool) { c.m.auditJudged(within, inconsistent).Inc() }})
	c.audit = a
}

func (c *Cache[K, V]) startAudit() {
	c.m.auditBegins()
	go c.audit.run()
}

// run takes a sample at random times: then what it sees is what a reader sees on average, also of a cache that is read
// in step with something.
func (a *auditor[K, V]) run() {
	defer close(a.done)
	ctx := a.c.client.life
	defer a.engine.Close()
	defer a.disarm()
	next := time.NewTimer(a.pause())
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-a.damaged:
			a.report(d)
		case <-next.C:
			switch {
			case a.c.client.Mode() != ModeOn || a.engine.Full():
				next.Reset(a.pause())
			case a.wanted.Load() > 0: // there are few reads: the next one will do
				a.wanted.Store(1)
			default:
				a.arm()
				next.Reset(auditPatience)
			}
		case e := <-a.hits:
			a.engine.Check(ctx, e.key, audit.State[V]{Seen: audit.Seen{Version: e.version, Absent: e.absent()}, Value: e.value,
				Tier: TierL1.String()})
			next.Reset(a.pause())
		case s := <-a.below:
			a.engine.Check(ctx, s.k, s.state)
			next.Reset(a.pause())
		}
	}
}

// pause is the time to the next sample.
func (a *auditor[K, V]) pause() time.Duration {
	mean := float64(time.Second) / a.opt.Rate
	return time.Duration(min(rand.ExpFloat64()*mean, 10*mean, float64(maxTTL)))
}

// arm has one of the next reads taken. Until then a hit looks at one flag, as it does without an auditor.
//
// Reads come in bursts, a page's keys one after the other: the first one of all would nearly always be the first key.
// So up to 63 reads go by, and as often few as many.
func (a *auditor[K, V]) arm() {
	a.wanted.Store(int32(math.Exp2(6 * rand.Float64())))
	a.c.watched.Or(watchAudit)
}

func (a *auditor[K, V]) disarm() {
	a.wanted.Store(0)
	a.c.watched.And(^watchAudit)
}

// take reports whether the caller's read is the one that is wanted.
func (a *auditor[K, V]) take() bool {
	if a.wanted.Load() <= 0 || a.wanted.Add(-1) != 0 {
		return false
	}
	a.c.watched.And(^watchAudit)
	return true
}

// hit offers a hit in L1. It never waits: one sample is wanted at a time.
func (a *auditor[K, V]) hit(e *entry[K, V]) {
	if a.take() {
		select {
		case a.hits <- e:
		default:
		}
	}
}

// offer offers what a read below L1 has brought. A value that is labelled stale is what its reader was told it is.
func (a *auditor[K, V]) offer(k K, r Result[V], err error) {
	absent := errors.Is(err, ErrNotFound)
	if err != nil && !absent || r.Stale && r.Tier != TierSource || !a.take() {
		return
	}
	select {
	case a.below <- sampled[K, V]{k, audit.State[V]{Seen: audit.Seen{Version: r.Version, Absent: absent},
		Value: r.Value, Tier: r.Tier.String()}}:
	default:
	}
}

// refused offers a record of L2 that no near cache wrote. It was not served, and the next load may replace it: so it is
// reported as it is found.
func (a *auditor[K, V]) refused(key l2.Key, miss l2Miss, raw []byte) {
	if a == nil {
		return
	}
	d := damagedRecord{name: key.Name, why: "not a string"}
	switch {
	case miss == missKey:
		d.why = "the record of another key, renamed or copied"
	case raw != nil:
		d.why = "bytes that the Codec does not decode"
		if _, err := l2.DecodeRecord(raw); err != nil {
			d.why = err.Error()
		}
	}
	select {
	case a.damaged <- d:
	default: // enough of them wait
	}
}

// serve reads the cache as a reader does.
func (a *auditor[K, V]) serve(ctx context.Context, k K) (s audit.State[V], ok bool, err error) {
	if a.c.client.Mode() != ModeOn {
		return s, false, nil
	}
	ctx, stop := context.WithTimeout(ctx, a.c.opt.LoadTimeout)
	defer stop()
	r, err := a.c.Read(ctx, k, ReadOptions{ServeStale: -1})
	if s.Absent = errors.Is(err, ErrNotFound); s.Absent {
		err = nil
	}
	s.Version, s.Value, s.Tier = r.Version, r.Value, r.Tier.String()
	return s, true, err
}

// source reads the source: first the version that it counts, and then the value. So a value of less than that version
// was read elsewhere.
func (a *auditor[K, V]) source(ctx context.Context, k K) (s audit.State[V], err error) {
	ctx, stop := context.WithTimeout(ctx, a.c.opt.LoadTimeout)
	defer stop()
	key, err := a.c.key(k)
	if err != nil {
		return s, err
	}
	var counted Version
	if versions := a.c.client.versions; versions != nil {
		counted, err = within(ctx, func() (Version, error) { return versions.Version(ctx, key.Namespace, key.Name) })
		if err != nil {
			return s, err
		}
	}
	if err := a.load(ctx, k, key, &s); err != nil {
		return s, err
	}
	if s.Version < counted {
		loaded := s.Version
		s.Version, s.Loaded = counted, &loaded
	} else {
		a.remember(key, &s)
	}
	return s, nil
}

// load calls the auditor's own Loader, or that of the cache, around the tiers.
func (a *auditor[K, V]) load(ctx context.Context, k K, key l2.Key, s *audit.State[V]) (err error) {
	if load := a.opt.Load; load != nil {
		e, err := within(ctx, func() (Entry[V], error) { return load(ctx, k) })
		if s.Absent = errors.Is(err, ErrNotFound); s.Absent {
			err = nil
		}
		s.Version, s.Value = e.Version, e.Value
		return err
	}
	l := &lookup[K, V]{want: want[K]{k: k, key: key}, ctx: ctx}
	a.c.bypass(ctx, []*lookup[K, V]{l}, ReadOptions{})
	if s.Absent = errors.Is(l.err, ErrNotFound) && l.result.Tier == TierSource; s.Absent {
		l.err = nil
	}
	s.Version, s.Value = l.result.Version, l.result.Value
	return l.err
}

// same compares values by Audit.Equal, by the Codec, or by what L2 would hold of them.
func (a *auditor[K, V]) same(x, y V) bool {
	equal := a.opt.Equal
	if eq := comparer(a.c.opt.Codec); equal == nil && eq != nil {
		equal = eq.Equal
	}
	if equal == nil {
		return a.c.same(x, y)
	}
	ok, err := apart(func() (bool, error) { return equal(x, y), nil })
	return ok && err == nil
}

// report is about a record that was refused.
func (a *auditor[K, V]) report(d damagedRecord) {
	cause, text := audit.Explain(&audit.Evidence{Damage: d.why})
	a.engine.Damaged(audit.Difference{Key: d.name, Tier: TierL2.String(), Cause: cause, Text: text, Seen: time.Now()})
}

// found counts, logs and hands on an inconsistency.
func (a *auditor[K, V]) found(d audit.Difference) {
	out := a.difference(&d)
	a.c.m.auditFound(out.Cause).Inc()
	a.mu.Lock()
	a.last = &out
	quiet := time.Since(a.logged[out.Cause]) < logAgainAfter
	if !quiet {
		if a.logged == nil {
			a.logged = make(map[string]time.Time)
		}
		a.logged[out.Cause] = time.Now()
	}
	a.mu.Unlock()
	if !quiet {
		a.c.client.log.LogAttrs(a.c.client.life, slog.LevelWarn, "nearcache: audit: the cache and the source differ",
			slog.String("cache", out.Cache), slog.String("key", out.Key), slog.String("cause", out.Cause),
			slog.String("tier", out.Tier), slog.Uint64("served", uint64(out.Served)),
			slog.Uint64("source", uint64(out.Source)), slog.Duration("lasted", out.Lasted), slog.String("text", out.Text))
	}
	if a.opt.Found != nil {
		_, _ = apart(func() (struct{}, error) { a.opt.Found(out); return struct{}{}, nil }) // a panic is the callback's own
	}
}

func (a *auditor[K, V]) difference(d *audit.Difference) Difference {
	return Difference{Cache: a.c.namespace, Key: d.Key, Tier: d.Tier, Served: d.Served.Version,
		ServedAbsent: d.Served.Absent, Source: d.Source.Version, SourceAbsent: d.Source.Absent, Seen: d.Seen,
		Lasted: d.Lasted, Cause: string(d.Cause), Text: d.Text}
}

// auditStatus is what the auditor has found; the zero AuditStatus without one.
func (c *Cache[K, V]) auditStatus() AuditStatus {
	a := c.audit
	if a == nil {
		return AuditStatus{}
	}
	s := a.engine.Summary()
	out := AuditStatus{On: true, Wait: a.opt.Wait, Reads: s.Reads, Undecided: s.Undecided, Inconsistent: s.Inconsistent}
	for _, sc := range s.Scales {
		low, high := sc.Interval()
		out.Scales = append(out.Scales, AuditScale{Within: sc.Within, Judged: sc.Judged, Inconsistent: sc.Inconsistent,
			Share: sc.Share(), Low: low, High: high, Nines: sc.Nines()})
	}
	for i := range s.Differences {
		out.Differences = append(out.Differences, a.difference(&s.Differences[i]))
	}
	return out
}

// auditReason says that an inconsistency was found lately; "" if none was.
func (c *Cache[K, V]) auditReason() string {
	a := c.audit
	if a == nil {
		return ""
	}
	a.mu.Lock()
	last := a.last
	a.mu.Unlock()
	if last == nil || time.Since(last.Seen) > auditShown+last.Lasted {
		return ""
	}
	return fmt.Sprintf("The cache %q and its source differ (%s): %s", c.namespace, last.Cause, last.Text)
}
