package nearcache

import (
	"context"
	"errors"
)

type wantedKey struct{}

// WantedVersion returns the version that the answer of Options.Replica must have at least: the source's version of the
// key before the load, or a later one that this instance knows of. A Loader can choose a replica by it, or wait for
// one. ok is false in every other Loader.
func WantedVersion(ctx context.Context) (v Version, ok bool) {
	v, ok = ctx.Value(wantedKey{}).(Version)
	return v, ok
}

// loadReplica asks a replica for a key, and reports whether its answer may stand for the primary's.
//
// The source is asked for the key's version first. An answer with that version or a later one is a state that the
// source had then or later, so everything that a load from the primary proves it proves too. An older one is dropped:
//
//	primary: has version 7          replica: has version 6, and 7 is on its way
//	reader: asks the version; it is 7, and the replica's 6 will not do
func (c *Cache[K, V]) loadReplica(ctx context.Context, f *flight[K, V]) (e Entry[V], served bool, err error) {
	wanted, err := c.client.versions.Version(ctx, f.key.Namespace, f.key.Name)
	if err != nil {
		return e, false, err
	}
	wanted = max(wanted, f.minVersion)
	e, err = safely(func() (Entry[V], error) {
		return c.opt.Replica(context.WithValue(ctx, wantedKey{}, wanted), f.k)
	})
	switch {
	case errors.Is(err, ErrNotModified):
		previous, ok := Previous[V](ctx)
		e.Version, served = previous.Version, ok && previous.Version >= wanted
	case err == nil, errors.Is(err, ErrNotFound):
		served = e.Version >= wanted
	default:
		c.m.loads("replica_failed").Inc()
		return e, false, err
	}
	if !served {
		c.m.loads("replica_behind").Inc()
	}
	return e, served, err
}
