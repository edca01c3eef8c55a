package nearcache

import (
	"fmt"
	"hash/maphash"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/l1"
)

// Cache is a near cache of one namespace. Make one with NewCache; all its methods are safe for concurrent use.
type Cache[K comparable, V any] struct {
	client       *Client
	namespace    string
	opt          Options[K, V]
	encode       func(K) (string, error)
	seed         maphash.Seed
	lookup       lookupRule
	oddKeys      bool                  // a K need not equal itself, or cannot be compared; see keys.go
	l1           l1.Cache[entry[K, V]] // switched off by a negative Options.L1Bytes
	reads        flights[K, V]         // of readers, through L2
	sources      flights[K, V]         // calls of the Loader
	fills        fillQueue[K, V]
	loads        bulkhead
	loadErrors   errorMemory
	watched      atomic.Uint32  // why hits are looked at; see recordHit
	asked        asked[K]       // not counting until DebugHandler is asked for the hottest keys
	refresher    refresher[K]   // not running without Options.Refresh
	warmer       warmer[K]      // not running without Options.Warm
	audit        *auditor[K, V] // nil without Options.Audit
	shape        uint32         // of V, for records
	lossless     lossless
	endless      bool // values may be nested too deep for the Codec
	versionCheck versionCheck
	m            *cacheMetrics
}

// NewCache makes the cache of a namespace, which is the first part of its keys' names and the namespace of their
// version events. The namespace has no colon and no brace, and a client has at most one cache of it. K is any
// comparable type that has a name (see Options.EncodeKey).
func NewCache[K comparable, V any](client *Client, namespace string, o Options[K, V]) (*Cache[K, V], error) {
	if client == nil || client.l2 == nil {
		return nil, fmt.Errorf("nearcache: cache %q: the Client is nil, or was not made by New", namespace)
	}
	if err := o.validate(client, namespace); err != nil {
		return nil, err
	}
	c := &Cache[K, V]{client: client, namespace: namespace, opt: o,
		encode: encodeKey(o.EncodeKey), seed: maphash.MakeSeed(),
		loads: newBulkhead(o.MaxLoads)}
	c.reads.fence, c.reads.nesting, c.reads.tryInline, c.reads.run = client.fence, &client.nesting, c.tryL2, c.walk
	c.sources.fence, c.sources.nesting, c.sources.run = client.fence, &client.nesting, c.callSource
	c.fills.send = c.sendFills
	c.oddKeys = canBeOdd(reflect.TypeFor[K]())
	switch {
	case o.L1Bytes < 0:
		c.lookup = lookupNone
	case c.oddKeys:
		c.lookup = lookupSelfEqual
	}
	var err error
	if c.shape, err = safely(func() (uint32, error) { return shapeOf(c.opt.Codec, o.Shape), nil }); err != nil {
		return nil, fmt.Errorf("nearcache: cache %q: Codec: %w", namespace, err)
	}
	c.lossless.risk, c.endless = riskOf(c.opt.Codec), endless(c.opt.Codec)
	if o.CheckShared {
		c.watched.Or(watchShared)
	}
	if o.Warm.File != "" {
		c.watched.Or(watchWarm)
	}
	if o.L1Bytes > 0 {
		if err := c.l1.Open(l1.Config[entry[K, V]]{MaxBytes: o.L1Bytes, Hash: c.entryHash}); err != nil {
			return nil, fmt.Errorf("nearcache: cache %q: %w", namespace, err)
		}
	}
	if o.Audit.Rate > 0 {
		c.newAudit()
	}
	m, err := client.register(namespace, c)
	if err != nil {
		c.l1.Close()
		return nil, err
	}
	c.m = m
	client.remember(o.L1Bytes)
	if o.Refresh.on() {
		c.refresher = refresher[K]{queue: make(chan K, refreshQueue), done: make(chan struct{})}
		go c.refreshing()
	}
	if o.Warm.File != "" {
		c.startWarmUp()
	}
	if o.Audit.Rate > 0 {
		c.startAudit()
	}
	return c, nil
}

// entryHash is the hash of an entry's key in L1.
func (c *Cache[K, V]) entryHash(e *entry[K, V]) uint64 { return maphash.Comparable(c.seed, e.key) }

// peek is the entry that L1 holds of k, whether or not it may be served.
func (c *Cache[K, V]) peek(k K) *entry[K, V] {
	if c.opt.L1Bytes < 0 {
		return nil
	}
	e, ok := c.l1.Get(maphash.Comparable(c.seed, k))
	if !ok || e.key != k || !c.intact(e) {
		return nil
	}
	return e
}

// admit offers an entry to L1, which may decline. encoded is the size of its record in L2.
func (c *Cache[K, V]) admit(e *entry[K, V], encoded int) {
	if e.stamp.Expired(c.client.now()) {
		return
	}
	if c.opt.admitted != nil {
		c.opt.admitted(e)
	}
	if c.opt.L1Bytes < 0 {
		return
	}
	cost, err := c.cost(e, encoded)
	if err != nil {
		c.m.rejected("size").Inc()
		return
	}
	if c.opt.CheckShared {
		e.extras().sum = c.checksum(e)
	}
	if c.l1.Set(maphash.Comparable(c.seed, e.key), e, cost) {
		c.m.admitted.Inc()
	} else {
		c.m.declined.Inc()
	}
}

func (c *Cache[K, V]) l1Stats() l1.Stats {
	return c.l1.Stats()
}

func (c *Cache[K, V]) maxStaleness() time.Duration { return c.opt.MaxStaleness }

// awaitFills waits for the fills whose values readers have already.
func (c *Cache[K, V]) awaitFills() { c.sources.awaitAnswered() }

// close waits for everything that the cache has started; the client calls it.
func (c *Cache[K, V]) close() {
	if c.refresher.done != nil {
		<-c.refresher.done
	}
	if c.audit != nil {
		<-c.audit.done
	}
	c.stopCounting()
	c.saveHotKeys()
	c.reads.close()
	c.sources.close()
	c.l1.Close()
}
