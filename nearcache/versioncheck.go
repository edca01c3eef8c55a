package nearcache

import (
	"context"
	"fmt"
	"sync/atomic"
)

// checkedLoads is how many of a cache's first loads are compared with the source's own versions.
const checkedLoads = 3

// versionCheck finds out whether the versions that the Loader returns are the source's. A Loader with versions of its
// own, an updated_at for one, would have old values pass as proved.
//
// The source is asked before the load and after it. Versions only grow: so a version past the second answer, or none at
// all, is not the source's, whatever was written meanwhile.
type versionCheck struct{ done atomic.Int32 }

// versionCheckDue reports whether a load is to be checked.
func (c *Cache[K, V]) versionCheckDue() bool {
	return c.client.versions != nil && c.versionCheck.done.Load() < checkedLoads
}

// checkVersion calls load, which sets the flight's answer, and makes an error of an answer whose version is not the
// source's. A source that does not answer decides nothing.
func (c *Cache[K, V]) checkVersion(ctx context.Context, f *flight[K, V], load func()) {
	ask := func() (Version, error) {
		return within(ctx, func() (Version, error) { return c.client.versions.Version(ctx, f.key.Namespace, f.key.Name) })
	}
	before, err := ask()
	load()
	if err != nil || f.answer.err != nil || f.answer.absent {
		return
	}
	after, err := ask()
	if err != nil || after < before { // a source that went back begins another timeline; see Fence
		return
	}
	v := f.answer.e.Version
	if v <= after && (v > 0 || after == 0) {
		// An older one than before the load is that of a Loader that lags behind: the fence knows what to do with it.
		c.versionCheck.done.Add(1)
		return
	}
	c.m.loads("foreign_version").Inc()
	f.answer.err = fmt.Errorf("%w: the Loader returned version %d, and the source's version of the key was %d before"+
		" the load and %d after it: the Loader must read value and version of the primary in one statement",
		ErrForeignVersion, v, before, after)
}
