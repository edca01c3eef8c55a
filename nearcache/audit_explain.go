package nearcache

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/audit"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// auditTimeout bounds what the collection of evidence waits for each service.
const auditTimeout = time.Second

// explain collects what this instance knows of a difference, and names its cause.
func (a *auditor[K, V]) explain(ctx context.Context, k K, served, source audit.State[V],
	seen time.Time) (name string, cause audit.Cause, text string) {
	c := a.c
	key, err := c.key(k)
	if err != nil {
		return "", audit.Unknown, err.Error()
	}
	e := &audit.Evidence{Tier: served.Tier, Served: served.Seen, Source: source.Seen, Loaded: source.Loaded,
		Relayed: c.client.relayed}
	agrees := func(version Version, absent bool, v V) bool {
		return source.Loaded == nil && absent == source.Absent && (absent || a.same(v, source.Value))
	}
	if en := c.peek(k); en != nil {
		e.L1 = &audit.Held{Seen: audit.Seen{Version: en.version, Absent: en.absent()}, Serves: c.debugEntry(en).Serves,
			Agrees: agrees(en.version, en.absent(), en.value)}
		e.Vouches = c.vouches(en)
	}
	a.explainRecord(ctx, k, key, e, agrees)
	// What is applied to Redis is proved up to a moment. A state that was seen after it may not be there yet.
	e.Waiting = c.client.fence.ChannelsAsOf().Redis < c.client.at(seen)
	a.askSource(ctx, key, &source, e)
	cause, text = audit.Explain(e)
	return key.Name, cause, text
}

// explainRecord looks at the record in Redis.
func (a *auditor[K, V]) explainRecord(ctx context.Context, k K, key l2.Key, e *audit.Evidence,
	agrees func(Version, bool, V) bool) {
	ctx, stop := context.WithTimeout(ctx, auditTimeout)
	defer stop()
	raw, w, err := a.c.client.l2.Get(ctx, key, l2.ReadOptions{Watermark: true})
	if err != nil || raw == nil {
		return
	}
	e.Watermark = w.Position
	d := a.c.decode(k, key.Hash, w.Incarnation, raw)
	if d.e == nil {
		return // no reader gets it
	}
	rec := &d.rec
	e.L2 = &audit.Held{Seen: audit.Seen{Version: rec.Version, Absent: rec.Absent}, Serves: d.miss == "",
		WrittenAt: rec.WrittenAt, Agrees: agrees(rec.Version, rec.Absent, d.e.value)}
}

// askSource asks the source whether the change was counted, and under which name.
func (a *auditor[K, V]) askSource(ctx context.Context, key l2.Key, source *audit.State[V], e *audit.Evidence) {
	src := a.c.client.source
	if src == nil {
		return
	}
	ctx, stop := context.WithTimeout(ctx, 5*auditTimeout)
	defer stop()
	abilities := coherence.AbilitiesOf(src)
	_, _ = within(ctx, func() (_ struct{}, err error) { // what it does not say is not known
		if abilities.Accountant != nil {
			if e.LastChange, err = abilities.Accountant.LastChange(ctx, key.Namespace, key.Name); err == nil &&
				e.LastChange.Key != "" && e.LastChange.Key != key.Name {
				e.Spelling = e.LastChange.Key
			}
		}
		if abilities.Versioner != nil && e.Spelling == "" {
			e.Spelling, _ = audit.CountedAs(ctx, abilities.Versioner, key.Namespace, key.Name)
		}
		if abilities.Checker != nil {
			found, _ := abilities.Checker.Check(ctx)
			e.Faults = audit.Missed(found, key.Namespace)
		}
		return struct{}{}, nil
	})
	if e.L2 != nil {
		e.Remembered = a.memory.compare(key.Name, source.Version, a.hash(source), e.L2.WrittenAt)
	}
}

// vouches names the channels that vouch for an entry now.
func (c *Cache[K, V]) vouches(e *entry[K, V]) string {
	var by []string
	redis, events := e.stamp.VouchedBy(c.client.fence)
	if redis != 0 {
		by = append(by, "tracking, session "+Version(redis).String())
	}
	if events != 0 {
		by = append(by, "events, session "+Version(events).String())
	}
	return strings.Join(by, " and ")
}

// auditMemory remembers which value the source had at a version when it was first looked at.
type auditMemory struct {
	mu sync.Mutex
	by map[string]auditLook
}

type auditLook struct {
	version Version
	hash    uint64
	at      time.Time
}

// maxAuditMemory bounds the keys that are remembered; when it is reached all are forgotten.
const maxAuditMemory = 1 << 13

func (a *auditor[K, V]) remember(key l2.Key, s *audit.State[V]) {
	h := a.hash(s)
	if h == 0 || s.Version == 0 {
		return
	}
	m := &a.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.by[key.Name]; ok && old.version == s.Version {
		return
	}
	if m.by == nil || len(m.by) >= maxAuditMemory {
		m.by = make(map[string]auditLook)
	}
	m.by[key.Name] = auditLook{s.Version, h, time.Now()}
}

// compare says whether the source had this value at this version when it was first looked at. The same value says
// something only if the record was written after that look: its load should have found that value.
func (m *auditMemory) compare(name string, v Version, hash uint64, written time.Time) audit.Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	look, ok := m.by[name]
	switch {
	case !ok || look.version != v || hash == 0:
		return audit.NoMemory
	case look.hash != hash:
		return audit.OtherValue
	case written.After(look.at):
		return audit.SameValue
	}
	return audit.NoMemory
}

// hash identifies a state's value by its encoding, 0 if that does not identify it.
func (a *auditor[K, V]) hash(s *audit.State[V]) uint64 {
	if a.opt.Equal != nil || comparer(a.c.opt.Codec) != nil {
		return 0
	}
	if s.Absent {
		return 1
	}
	b, err := a.c.encoded(s.Value)
	if err != nil {
		return 0
	}
	return max(2, maphash.Bytes(a.c.seed, b))
}
