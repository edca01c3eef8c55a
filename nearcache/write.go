package nearcache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// applyTimeout bounds how long a write waits for L2 after its transaction; then the retry takes over. It is for clients
// without a relay: where one carries the change, the breaker's timeout is enough.
const applyTimeout = 2 * time.Second

// sendTimeout bounds how long a change is on its way to L2, whatever the caller's context.
func (c *Client) sendTimeout() time.Duration {
	if c.relayed {
		return c.breaker.timeout
	}
	return applyTimeout
}

// send brings changes to a node of L2. With a relay it passes the breaker, and waits no longer than reads do: the relay
// carries the change too, so a write need not wait for a Redis that is slow or gone. Without one the change must reach
// Redis, and is tried in any case.
//
// The client of Redis may take longer than the context allows, for instance while another request of it dials. So f
// runs on a goroutine of its own. What it does late is what the retry does as well: it may come twice, and in any
// order.
func (c *Client) send(ctx context.Context, n *l2.Node, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.sendTimeout())
	switch {
	case !c.relayed:
		defer cancel()
		return f(ctx)
	case c.breaker.of(n).opened.Load():
		cancel()
		return errBreakerOpen
	}
	answered := make(chan error, 1)
	go func() {
		defer cancel()
		answered <- f(ctx)
	}()
	var err error
	select {
	case err = <-answered:
	case <-ctx.Done():
		err = fmt.Errorf("%w: no answer within %v", l2.ErrUnavailable, c.sendTimeout())
	}
	c.breaker.heard(c.breaker.of(n), err)
	return err
}

// Write runs a transaction that changes k and makes every tier notice. tx returns the version it committed, or 0 if the
// source has none. tx's error is returned as it is.
//
// What the error says decides what becomes of the value that the tiers have. One that wraps ErrNotCommitted says that
// nothing was changed: the value stays. After any other one nobody knows whether the commit happened. Then the value is
// unconfirmed: no read is served it, but ReadOptions.ServeStale and FailSafe may serve it, labelled Result.Unconfirmed,
// while the source cannot say more.
//
// Without a relay the key is marked in L2 before tx is called. Until the write is over, or its process has been dead
// for Options.WriteTTL, readers go to the source and nothing is cached.
//
// A transaction that went through, but could not be sent to L2, is sent again in the background. With no Source to
// carry it either, Write then returns ErrNotInvalidated beside the version.
//
// If ctx can end, by a deadline or a cancellation, tx runs on a goroutine of its own. Write does not wait for it much
// longer than that. The error of a Write that has not waited says so. It sends what tx did when tx has returned.
func (c *Cache[K, V]) Write(ctx context.Context, k K, tx func(context.Context) (Version, error)) (Version, error) {
	if tx == nil {
		return 0, errNilTransaction
	}
	e, err := c.write(ctx, k, dropsOlder, func(ctx context.Context) (Entry[V], error) {
		v, err := tx(ctx)
		return Entry[V]{Version: v}, err
	})
	return e.Version, err
}

// WriteEntry is Write for a transaction that knows the value it leaves behind: where L2 holds an older value, it gets
// the new one at once instead of losing the old. The entry needs a version for that; without one it is Write.
func (c *Cache[K, V]) WriteEntry(ctx context.Context, k K,
	tx func(context.Context) (Entry[V], error)) (Version, error) {
	if tx == nil {
		return 0, errNilTransaction
	}
	e, err := c.write(ctx, k, replacesOlder, tx)
	return e.Version, err
}

// errNilTransaction is the error of a write that is given no transaction. Nothing is invalidated.
var errNilTransaction = fmt.Errorf("nearcache: the transaction is nil: %w", ErrNotCommitted)

// writeEffect is what a write does to L2's value.
type writeEffect uint8

const (
	dropsOlder    writeEffect = iota // an older value goes
	replacesOlder                    // an older value is replaced by the new one
)

// writing is a write from its beginning to its end.
type writing[K comparable] struct {
	k        K
	key      l2.Key
	effect   writeEffect
	marked   bool // its intent is in L2, since there is no Source
	token    l2.LeaseID
	setAside bool // the intent has made a value unconfirmed
}

func (c *Cache[K, V]) write(ctx context.Context, k K, effect writeEffect,
	tx func(context.Context) (Entry[V], error)) (Entry[V], error) {
	if err := c.client.usable(ctx); err != nil {
		return Entry[V]{}, err
	}
	key, err := c.key(k)
	if err != nil {
		return Entry[V]{}, err
	}
	w := &writing[K]{k: k, key: key, effect: effect, token: l2.NewLeaseID(),
		marked: !c.client.relayed && !ablate.Out(ablate.WriteIntent)}
	if w.marked {
		if w.setAside, err = c.client.l2.PlaceIntent(ctx, key, w.token, c.opt.WriteTTL); err != nil {
			c.m.writes("no_intent").Inc()
		}
	}
	if ctx.Done() != nil {
		return c.writeInTime(ctx, w, tx)
	}
	returned := false
	defer func() {
		if !returned { // tx called runtime.Goexit, as t.FailNow does, and may have committed before
			c.leaveUnconfirmed(ctx, w)
		}
	}()
	e, txErr := safely(func() (Entry[V], error) { return tx(ctx) })
	returned = true
	return c.endWrite(ctx, w, e, txErr)
}

// writeGrace is how long a write waits for its transaction after the context has ended. A transaction that heeds its
// context returns at once, and can often say that nothing was committed.
const writeGrace = 250 * time.Millisecond

// writeInTime is the rest of a write whose context may end. A transaction that does not return then goes on by itself,
// and what it has done is sent when it returns:
//
//	writer: its context ends, the transaction is in its commit      the value becomes unconfirmed
//	the transaction returns version 7                               every tier hears of version 7
func (c *Cache[K, V]) writeInTime(ctx context.Context, w *writing[K],
	tx func(context.Context) (Entry[V], error)) (Entry[V], error) {
	type result struct {
		e   Entry[V]
		err error
	}
	returned, left := make(chan result), make(chan struct{})
	go func() {
		r := result{err: errGoexit} // stands if tx never returns
		defer func() {
			select {
			case returned <- r:
			case <-left:
				if !c.client.closed.Load() {
					_, _ = c.endWrite(context.WithoutCancel(ctx), w, r.e, r.err)
				}
			}
		}()
		r.e, r.err = safely(func() (Entry[V], error) { return tx(ctx) })
	}()
	select {
	case r := <-returned:
		return c.endWrite(ctx, w, r.e, r.err)
	case <-ctx.Done():
	}
	grace := time.NewTimer(writeGrace)
	defer grace.Stop()
	select {
	case r := <-returned:
		return c.endWrite(ctx, w, r.e, r.err)
	case <-grace.C:
	}
	c.doubt(ctx, w, func(ctx context.Context) error {
		if w.marked {
			return nil // the intent stands, and goes on keeping readers away
		}
		return c.client.l2.ApplyMany(ctx, []l2.Change{{Key: w.key, Unconfirmed: true}})
	})
	close(left)
	return Entry[V]{}, c.wrap("write", w.key,
		fmt.Errorf("the transaction has not returned, and its outcome is not known: %w", context.Cause(ctx)))
}

// endWrite makes every tier notice what a transaction has done.
func (c *Cache[K, V]) endWrite(ctx context.Context, w *writing[K], e Entry[V], txErr error) (Entry[V], error) {
	switch {
	case errors.Is(txErr, ErrNotCommitted):
		c.takeBack(ctx, w)
		return Entry[V]{}, txErr
	case txErr != nil:
		c.leaveUnconfirmed(ctx, w)
		return Entry[V]{}, txErr
	}
	ch := change[V]{key: w.key, version: e.Version, marked: w.marked, token: w.token}
	if w.effect == replacesOlder && e.Version > 0 && !w.marked {
		ch.entry = &e
	}
	return e, c.announce(ctx, ch)
}

// takeBack ends a write that has changed nothing. Its intent, if it has one, confirms the value that it has set aside.
// An intent that cannot be taken away now runs out by itself.
func (c *Cache[K, V]) takeBack(ctx context.Context, w *writing[K]) {
	c.m.writes("not_committed").Inc()
	if !w.marked {
		return
	}
	outcome := l2.Refused
	if w.setAside {
		outcome = l2.Restore
	}
	_ = c.client.send(ctx, c.client.l2.Node(w.key.Bucket), func(ctx context.Context) error {
		return c.client.l2.ResolveIntent(ctx, w.key, w.token, outcome, 0)
	})
}

// leaveUnconfirmed ends a write of which nobody knows what it has changed.
func (c *Cache[K, V]) leaveUnconfirmed(ctx context.Context, w *writing[K]) {
	c.doubt(ctx, w, func(ctx context.Context) error {
		if w.marked {
			return c.client.l2.ResolveIntent(ctx, w.key, w.token, l2.Unknown, 0)
		}
		return c.client.l2.ApplyMany(ctx, []l2.Change{{Key: w.key, Unconfirmed: true}})
	})
}

// doubt makes the value of a key unconfirmed, in L1 and by inL2, as announce makes a change known: L1 comes last again,
// since a load may have admitted the value meanwhile.
func (c *Cache[K, V]) doubt(ctx context.Context, w *writing[K], inL2 func(context.Context) error) {
	c.unconfirm(w.k, w.key)
	err := c.client.send(ctx, c.client.l2.Node(w.key.Bucket), inL2)
	if err != nil {
		// First: from then on L2 is not believed of the key.
		c.client.retry.add(l2.Change{Key: w.key, Unconfirmed: true})
	}
	c.unconfirm(w.k, w.key)
	if err != nil {
		c.m.writes("retried").Inc()
		return
	}
	c.m.writes("unconfirmed").Inc()
}

// Set tells every tier the state that a write of the caller's own has committed: where L2 holds an older value, it is
// replaced; elsewhere the version is applied, since a late Set must not bring an old value back. An entry without a
// version acts as Invalidate: two of them can arrive in either order. What it returns is Write's second result.
func (c *Cache[K, V]) Set(ctx context.Context, k K, e Entry[V]) error {
	if err := c.client.usable(ctx); err != nil {
		return err
	}
	key, err := c.key(k)
	if err != nil {
		return err
	}
	ch := change[V]{key: key, version: e.Version}
	if e.Version > 0 {
		ch.entry = &e
	}
	return c.announce(ctx, ch)
}

// Invalidate tells every tier that k has a state of this version; older ones are dropped. Version 0 drops whatever
// there is. What it returns is Write's second result.
func (c *Cache[K, V]) Invalidate(ctx context.Context, k K, v Version) error {
	if err := c.client.usable(ctx); err != nil {
		return err
	}
	key, err := c.key(k)
	if err != nil {
		return err
	}
	return c.announce(ctx, change[V]{key: key, version: v})
}

// change is a committed write on its way to the tiers.
type change[V any] struct {
	key     l2.Key
	version Version
	entry   *Entry[V] // what to set; nil: apply the version
	marked  bool
	token   l2.LeaseID
}

// announce raises this instance's min version, tells L2, and then ends whatever an unversioned change may have let in
// meanwhile:
//
//	write: bumps the slot
//	load:  takes its token, GETs the old value on the tracking connection
//	write: apply(0) deletes it; the push is under way
//	load:  admits the old value, since nothing has bumped the slot since its token
//	write: bumps the slot again, before the caller hears that the write is over
//
// A versioned change needs no second bump: the min version refuses the old value.
func (c *Cache[K, V]) announce(ctx context.Context, ch change[V]) error {
	fence := c.client.fence
	c.client.m.byWrites.Inc()
	fence.Written(ch.key, ch.version)
	err := c.sendToL2(ctx, ch)
	c.retryLater(ch, err)
	if ch.version == 0 && !ablate.Out(ablate.WriteBumpsAfter) {
		fence.Written(ch.key, 0)
	}
	return c.writeResult(ch, err)
}

// retryLater queues a change that L2 has not taken. From then on L2 is not believed of the key, so it comes before the
// bump that makes L1 forget what was read meanwhile.
func (c *Cache[K, V]) retryLater(ch change[V], err error) {
	if err != nil && !errors.Is(err, ErrCodec) {
		c.client.retry.add(l2.Change{Key: ch.key, Version: ch.version})
	}
}

// writeResult maps L2's answer to the error of a write.
func (c *Cache[K, V]) writeResult(ch change[V], err error) error {
	if err == nil {
		c.m.writes("applied").Inc()
		return nil
	}
	if errors.Is(err, ErrCodec) {
		return c.wrap("set", ch.key, err)
	}
	c.m.writes("retried").Inc()
	if c.client.relayed {
		return nil
	}
	return c.wrap("write", ch.key, fmt.Errorf("%w: %w", ErrNotInvalidated, err))
}

// sendToL2 brings the change to L2. A value that cannot be encoded still invalidates.
func (c *Cache[K, V]) sendToL2(ctx context.Context, ch change[V]) error {
	n := c.client.l2.Node(ch.key.Bucket)
	if ch.marked {
		return c.client.send(ctx, n, func(ctx context.Context) error {
			return c.client.l2.ResolveIntent(ctx, ch.key, ch.token, l2.Committed, ch.version)
		})
	}
	s, unencoded := c.setting(ch)
	err := c.client.send(ctx, n, func(ctx context.Context) error {
		return c.client.l2.SetMany(ctx, []l2.SetRequest{s})[0]
	})
	if err != nil {
		return err
	}
	return unencoded
}

// setting is the change as L2 takes it. The error says why the value is not part of it although there is one.
func (c *Cache[K, V]) setting(ch change[V]) (l2.SetRequest, error) {
	s := l2.SetRequest{Key: ch.key, Version: ch.version}
	if ch.entry == nil || c.tagCount(*ch.entry) > 0 || ch.entry.TTL < 0 {
		return s, nil
	}
	ttl := c.ttl(ch.entry.TTL, false)
	rec, err := c.record(ch.entry.Value, false, ch.version, ttl, 0)
	switch {
	case err == nil:
		s.Record, s.TTL = &rec, c.l2TTL(ttl)
	case c.mayBypass(err):
		c.m.rejected("lossy").Inc()
		return s, nil
	default:
		c.m.rejected("codec").Inc()
	}
	return s, err
}
