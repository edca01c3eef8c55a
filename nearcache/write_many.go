package nearcache

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// SetMany is Set for several keys, in one pipeline for each node. Each is sent by itself: what fails for one is joined
// to the error, with the key named, and the others take effect all the same. It is no transaction: other instances may
// see the new state of one key beside the old one of another.
func (c *Cache[K, V]) SetMany(ctx context.Context, es map[K]Entry[V]) error {
	return announceMany(ctx, c, es, func(e Entry[V]) change[V] {
		if e.Version == 0 {
			return change[V]{}
		}
		return change[V]{version: e.Version, entry: &e}
	})
}

// InvalidateMany is Invalidate for several keys, as SetMany is Set.
func (c *Cache[K, V]) InvalidateMany(ctx context.Context, vs map[K]Version) error {
	return announceMany(ctx, c, vs, func(v Version) change[V] { return change[V]{version: v} })
}

// announceMany is announce for several changes: every slot is bumped before the pipeline goes out, and those of
// unversioned changes once more after it. Keys go in the order of their names, so that the same call does the same.
func announceMany[K comparable, V, T any](ctx context.Context, c *Cache[K, V], by map[K]T, of func(T) change[V]) error {
	if err := c.client.usable(ctx); err != nil {
		return err
	}
	var errs []error
	chs := make([]change[V], 0, len(by))
	for k, t := range by {
		key, err := c.key(k)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ch := of(t)
		ch.key = key
		chs = append(chs, ch)
	}
	slices.SortFunc(chs, func(a, b change[V]) int { return strings.Compare(a.key.Name, b.key.Name) })

	fence := c.client.fence
	settings, unencoded := make([]l2.SetRequest, len(chs)), make([]error, len(chs))
	for i, ch := range chs {
		fence.Written(ch.key, ch.version)
		settings[i], unencoded[i] = c.setting(ch)
	}
	for i, err := range c.client.sendMany(ctx, settings) {
		c.retryLater(chs[i], err)
		if chs[i].version == 0 {
			fence.Written(chs[i].key, 0)
		}
		if err == nil {
			err = unencoded[i]
		}
		errs = append(errs, c.writeResult(chs[i], err))
	}
	return errors.Join(errs...)
}

// sendMany is send for several changes, to each node by itself. It returns each one's error, in their order.
func (c *Client) sendMany(ctx context.Context, settings []l2.SetRequest) []error {
	errs := make([]error, len(settings))
	by := make(map[*l2.Node][]int)
	for i := range settings {
		n := c.l2.Node(settings[i].Key.Bucket)
		by[n] = append(by[n], i)
	}
	var nodes sync.WaitGroup
	for n, at := range by {
		nodes.Go(func() {
			for j, err := range c.sendTo(ctx, n, pick(settings, at)) {
				errs[at[j]] = err
			}
		})
	}
	nodes.Wait()
	return errs
}

// sendTo is sendMany for one node.
func (c *Client) sendTo(ctx context.Context, n *l2.Node, settings []l2.SetRequest) []error {
	answers := make(chan []error, 1)
	err := c.send(ctx, n, func(ctx context.Context) error {
		errs := c.l2.SetMany(ctx, settings)
		answers <- errs
		for _, err := range errs {
			if errors.Is(err, l2.ErrUnavailable) {
				return err
			}
		}
		return nil
	})
	select {
	case errs := <-answers:
		return errs
	default: // Redis was not asked, or has not answered
		return slices.Repeat([]error{err}, len(settings))
	}
}
