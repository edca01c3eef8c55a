package nearcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// asked counts hits while DebugHandler is asked for the hottest keys. Its zero value does not count.
type asked[K comparable] struct {
	hot atomic.Pointer[hot[K]] // nil: nobody asks

	mu    sync.Mutex
	began time.Time
	end   *time.Timer
}

// count begins to count hits, or has it go on, and returns the counts.
func (c *Cache[K, V]) count() (h *hot[K], since time.Duration) {
	a := &c.asked
	a.mu.Lock()
	defer a.mu.Unlock()
	if h = a.hot.Load(); h != nil {
		a.end.Reset(debugFor)
		return h, time.Since(a.began)
	}
	h = newHot[K](debugWatch, debugSample)
	a.began = time.Now()
	a.hot.Store(h)
	c.watched.Or(watchAsked)
	a.end = time.AfterFunc(debugFor, c.stopCounting)
	return h, 0
}

// stopCounting makes hits cost what they did before count.
func (c *Cache[K, V]) stopCounting() {
	a := &c.asked
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hot.Load() == nil {
		return
	}
	a.end.Stop()
	c.watched.And(^watchAsked)
	a.hot.Store(nil)
}

func (c *Cache[K, V]) debugCounters() debugCounters {
	of := func(col prometheus.Collector, label, value string) uint64 {
		return sumOf(col, "cache", c.namespace, label, value)
	}
	s, m := c.l1Stats(), c.m.m
	return debugCounters{L1Hits: c.m.l1Hits.sum(), L1Misses: of(m.misses, "tier", "l1"), L2Hits: c.m.l2Hits.Load(),
		Loads: of(m.load, "", ""), LoadErrors: of(m.load, "result", "error"), ServedStale: of(m.stale, "", ""),
		L1Bytes: s.Bytes, L1Evictions: s.Evicted}
}

// sumOf adds up a counter's series that have all of these labels; an empty name asks for nothing.
func sumOf(col prometheus.Collector, labels ...string) (sum uint64) {
	series := make(chan prometheus.Metric)
	go func() { defer close(series); col.Collect(series) }()
	for s := range series {
		var m dto.Metric
		if s.Write(&m) != nil {
			continue
		}
		has := map[string]string{"": ""}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		matches := true
		for i := 0; i < len(labels); i += 2 {
			matches = matches && has[labels[i]] == labels[i+1]
		}
		if matches {
			sum += uint64(m.GetCounter().GetValue())
		}
	}
	return sum
}

func (c *Cache[K, V]) debugHottest(n int) debugHottest {
	h, since := c.count()
	hottest, sum := h.shares(n)
	out := debugHottest{Cache: c.namespace, Counting: since.Seconds(), Counted: sum,
		Keys: make([]debugHotKey, 0, len(hottest))}
	for _, e := range hottest {
		key, err := c.key(e.key)
		if err != nil {
			continue
		}
		k := debugHotKey{debugName: debugNameOf(key.Name), Share: float64(e.n) / float64(sum), Tier: TierNone.String()}
		if entry := c.peek(e.key); entry != nil {
			if k.L1 = c.debugEntry(entry); k.L1.Serves {
				k.Tier = TierL1.String()
			}
		}
		out.Keys = append(out.Keys, k)
	}
	return out
}

// debugTimeout bounds what the answer about a key waits for Redis.
const debugTimeout = time.Second

func (c *Cache[K, V]) debugKey(ctx context.Context, name string, q url.Values) (debugKey, error) {
	decode := decodeKey(c.opt.EncodeKey, c.opt.DecodeKey)
	if decode == nil {
		return debugKey{}, fmt.Errorf("%w: the cache %q cannot find a key by its name: it has an Options.EncodeKey and no "+
			"Options.DecodeKey", ErrUnsupported, c.namespace)
	}
	var key l2.Key
	k, err := apart(func() (k K, err error) {
		if k, err = decode(name); err == nil {
			key, err = c.key(k)
		}
		return k, err
	})
	switch {
	case err != nil:
		return debugKey{}, fmt.Errorf("%q names no key of the cache %q: %w", name, c.namespace, err)
	case key.Name != name:
		return debugKey{}, fmt.Errorf("%q names no key of the cache %q: that key is %q", name, c.namespace, key.Name)
	}
	out := debugKey{debugName: debugNameOf(name), Cache: c.namespace, Tier: TierSource.String()}
	var below *entry[K, V]
	if q.Get("tier") == TierL1.String() {
		out.Tier = TierNone.String()
	} else {
		ctx, stop := context.WithTimeout(ctx, debugTimeout)
		defer stop()
		below = c.debugRecord(ctx, k, key, &out)
	}
	if Mode(c.client.mode.Load()) != ModeOn {
		return out, nil // the source answers whatever the tiers hold
	}
	e := c.peek(k)
	if e != nil {
		out.L1 = c.debugEntry(e)
	}
	switch {
	case e != nil && out.L1.Serves:
		out.Tier = TierL1.String()
	case out.L2 != nil && out.L2.Serves:
		out.Tier, e = TierL2.String(), below
	default:
		e = nil
	}
	if q.Get("value") == "true" && e != nil && !e.absent() {
		out.debugValue = c.debugValue(e.value)
	}
	return out, nil
}

// debugRecord looks at Redis. Redis tracks the key for this instance from then on, as for any read.
func (c *Cache[K, V]) debugRecord(ctx context.Context, k K, key l2.Key, out *debugKey) *entry[K, V] {
	raw, watermark, err := c.client.l2.Get(ctx, key, l2.ReadOptions{Watermark: true})
	if err != nil {
		out.L2Error = err.Error()
		if !errors.Is(err, l2.ErrUnavailable) {
			out.L2 = &debugRecord{Refused: string(missCorrupt)}
		}
		return nil
	}
	d := c.decode(k, key.Hash, watermark.Incarnation, raw)
	out.L2 = newDebugRecord(raw, &d.rec, d.miss)
	return d.e
}

// debugEntry describes an entry as a read would judge it. It counts no hit and no miss.
func (c *Cache[K, V]) debugEntry(e *entry[K, V]) *debugEntry {
	f, now := c.client.fence, c.client.now()
	asOf := e.stamp.AsOf(f)
	verdict := e.stamp.Check(f)
	tags, asOf := e.tags().check(f, now, asOf)
	d := &debugEntry{Version: e.version, Absent: e.absent(), Age: time.Duration(now - e.stamp.Began()).Seconds(),
		ExpiresIn: time.Duration(e.stamp.Deadline() - now).Seconds(), Staleness: age(asOf, now).Seconds(),
		Tags: c.tagsOfEntry(e)}
	bound := c.opt.MaxStaleness
	proved := bound > 0 && asOf != 0 && now-asOf <= int64(bound)
	switch {
	case e.stamp.Expired(now):
		d.Refused = "expired"
	case verdict == fence.Invalidated:
		d.Refused = "invalidated"
	case verdict == fence.Collided:
		d.Refused = "collided"
	case tags != fence.Current && !(proved && tags == fence.Unvouched):
		d.Refused = "tag"
	case verdict != fence.Current && !proved:
		d.Refused = "unvouched"
	case bound > 0 && !proved:
		d.Refused = "unproved"
	}
	d.Serves = d.Refused == ""
	return d
}

func (c *Cache[K, V]) debugValue(v V) (d debugValue) {
	b, err := apart(func() ([]byte, error) { return c.encoded(v) })
	switch {
	case err != nil:
		d.Omitted = "the Codec cannot encode it: " + err.Error()
	case len(b) > debugMostSize:
		d.Omitted = fmt.Sprintf("%d bytes: more than %d are not shown", len(b), debugMostSize)
	case json.Valid(b):
		d.JSON = b
	default:
		d.Base64 = b
	}
	return d
}

func debugNameOf(name string) debugName {
	if utf8.ValidString(name) {
		return debugName{Key: name}
	}
	return debugName{Base64: []byte(name)}
}
