package nearcache

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Warm saves the names of the hottest keys of L1 when the client is closed, and fetches them into L1 when the cache is
// made again. They come from L2, by the same rules as in a read, so that nothing is served for having been in the file;
// what L2 does not have is left to its first reader. What is hot is estimated from one hit in 64.
type Warm struct {
	// File is where they are saved. It is this cache's alone: a file of another cache is left as it is, and one that is
	// damaged is not believed. Its folder must exist. Defaults to "": off.
	File string
	// Keys is how many are saved; twice as many are watched, at about 100 bytes and the key's own each. Defaults to
	// 10,000; at most 10 million.
	Keys int
	// Rate is how many keys a second are fetched from L2, in batches of at most 100. Defaults to 1,000; at most a
	// million.
	Rate int
}

const (
	defaultWarmKeys = 10_000
	defaultWarmRate = 1_000
	warmBatch       = 100
	maxWarmKeys     = 10_000_000
	maxWarmRate     = 1_000_000
)

// warmer is the state of Warm; its zero value is off.
type warmer[K comparable] struct {
	hot     *hot[K] // nil: off
	decode  func(string) (K, error)
	foreign bool // the file is another cache's
	done    chan struct{}
}

// startWarmUp reads the file and begins to fetch the keys that it names.
func (c *Cache[K, V]) startWarmUp() {
	w := &c.warmer
	w.hot, w.decode, w.done = newHot[K](2*c.opt.Warm.Keys, warmSample), decodeKey(c.opt.EncodeKey,
		c.opt.DecodeKey), make(chan struct{})
	names, err := readWarm(c.opt.Warm.File, c.client.keyspace.Prefix(), c.namespace)
	switch {
	case err == nil:
		c.m.warmFiles("read").Inc()
	case errors.Is(err, fs.ErrNotExist):
		c.m.warmFiles("missing").Inc()
	default:
		result := "unreadable"
		if errors.Is(err, errWarmDamaged) {
			result = "damaged"
		} else if errors.Is(err, errWarmForeign) {
			result, w.foreign = "foreign", true
		}
		c.m.warmFiles(result).Inc()
		c.client.log.Warn("the file of Options.Warm is ignored", "cache", c.namespace, "file", c.opt.Warm.File, "error", err)
	}
	go func() {
		defer close(w.done)
		ks := c.decodeNames(names[:min(len(names), c.opt.Warm.Keys)])
		w.hot.seed(ks) // a process that lives shortly passes on what it was given
		for len(ks) > 0 && c.client.life.Err() == nil {
			rest := ks // a callback that calls runtime.Goexit costs the batch that it was called for
			_, _ = apart(func() (struct{}, error) { return struct{}{}, c.refill(c.client.life, &rest) })
			ks = rest
		}
	}()
}

// decodeNames are the keys of the names. What has become of a name that has no key is counted.
func (c *Cache[K, V]) decodeNames(names []string) (ks []K) {
	for _, name := range names {
		k, err := apart(func() (K, error) {
			k, err := c.warmer.decode(name)
			if err != nil {
				return k, err
			}
			if key, err := c.key(k); err != nil || key.Name != name {
				return k, errWarmDamaged
			}
			return k, nil
		})
		if err != nil {
			c.m.warmKeys("unnamed").Inc()
			continue
		}
		ks = append(ks, k)
	}
	return ks
}

// refill fetches keys at Warm.Rate until ctx ends. It takes those that it has begun to fetch off the list.
func (c *Cache[K, V]) refill(ctx context.Context, ks *[]K) error {
	if err := c.client.Ready(ctx); err != nil {
		return err
	}
	n := max(1, min(warmBatch, c.opt.Warm.Rate/10))
	tick := time.NewTicker(time.Duration(n) * time.Second / time.Duration(c.opt.Warm.Rate))
	defer tick.Stop()
	for len(*ks) > 0 {
		batch := (*ks)[:min(n, len(*ks))]
		*ks = (*ks)[len(batch):]
		c.fetch(ctx, batch)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fetch reads keys from L2 in one pipeline for each node. Of those that may be served it admits what it can to L1.
func (c *Cache[K, V]) fetch(ctx context.Context, ks []K) {
	var missing []K
	for _, k := range ks {
		if c.peek(k) != nil {
			c.m.warmKeys("present").Inc()
			continue
		}
		missing = append(missing, k)
	}
	if len(missing) == 0 || Mode(c.client.mode.Load()) != ModeOn {
		return
	}
	batch, unnamed := c.newBatch(missing)
	c.m.warmKeys("unnamed").Add(float64(unnamed))
	if len(batch) == 0 {
		return
	}
	c.readL2(ctx, batch)
	for _, f := range batch {
		switch {
		case f.l2.err != nil:
			c.m.warmKeys("failed").Inc()
		case c.evaluateL2(ctx, f, withIO).served:
			c.m.warmKeys("refilled").Inc()
		default:
			c.m.warmKeys("missed").Inc()
		}
	}
}

// saveHotKeys waits for the warm start to end and saves the hottest keys. An empty list does not replace a file.
func (c *Cache[K, V]) saveHotKeys() {
	if c.warmer.hot == nil {
		return
	}
	<-c.warmer.done
	var names []string
	for _, k := range c.warmer.hot.top(c.opt.Warm.Keys) {
		if name, err := apart(func() (string, error) { return c.encode(k) }); err == nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 || c.warmer.foreign {
		return
	}
	if err := writeWarm(c.opt.Warm.File, encodeWarm(c.client.keyspace.Prefix(), c.namespace, names)); err != nil {
		c.m.warmFiles("failed").Inc()
		c.client.log.Warn("the hottest keys were not saved", "cache", c.namespace, "error", err)
		return
	}
	c.m.warmFiles("saved").Inc()
	c.m.warmKeys("saved").Add(float64(len(names)))
}
