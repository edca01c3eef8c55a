package nearcache

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// TagNamespace is the namespace of tags' versions: a tag is a key like any other, whose value is its version. To
// invalidate a tag within a transaction of your own, count a version of TagKey in it.
const TagNamespace = "nearcache.tags"

// TagKey is the key, in TagNamespace, of a tag of a namespace; of the whole namespace if tag is "".
func TagKey(namespace, tag string) string { return namespace + ":" + tag }

// tags are the versions of a client's tags, near-cached as values are: in Redis, by the same leases, channels and
// proofs. In this process they are in a map, since what depends on a tag points to its entry: while that entry is
// current so is its version, and a hit of a tagged value asks nothing more.
//
// With a source that tells versions, a tag's version is the source's. Without one it is a random number that Redis
// holds: a missing one is drawn again, so that what depended on the old one fails closed.
type tags struct {
	*Cache[string, uint64]
	mu   sync.RWMutex
	by   map[string]keptTag
	kept uint64 // the number of the last that was kept
}

// keptTag is a tag's entry, numbered in the order in which they were learnt.
type keptTag struct {
	entry  *entry[string, uint64]
	number uint64
}

// maxTags bounds the map; when it is reached all are forgotten, and read again from L2.
const maxTags = 1 << 16

// tagTTL is long, for a tag that expires makes what depends on it be read from L2 once.
const tagTTL = 24 * time.Hour

// openTags makes the tags of a client; it does so once, when first there is a tag.
func (c *Client) openTags() (*tags, error) {
	c.tagsOnce.Do(func() {
		t := &tags{by: make(map[string]keptTag)}
		t.Cache, c.tagsErr = NewCache(c, TagNamespace,
			Options[string, uint64]{Load: c.loadTag, Codec: tagCodec{}, TTL: tagTTL, L1Bytes: -1, admitted: t.remember})
		c.tags.Store(t)
	})
	return c.tags.Load(), c.tagsErr
}

// tagsLearnt is how many tags have been learnt so far, to be taken before a load begins.
func (c *Client) tagsLearnt() uint64 {
	t := c.tags.Load()
	if t == nil {
		return 0
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.kept
}

func (c *Client) loadTag(ctx context.Context, name string) (Entry[uint64], error) {
	if c.versions != nil {
		v, err := c.versions.Version(ctx, TagNamespace, name)
		return Entry[uint64]{Value: uint64(v), Version: v}, err
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return Entry[uint64]{Value: binary.BigEndian.Uint64(b[:])}, nil
}

// remember keeps an entry that may be served.
func (t *tags) remember(e *entry[string, uint64]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.by) >= maxTags {
		clear(t.by)
	}
	t.kept++
	t.by[e.key] = keptTag{e, t.kept}
}

// current is a tag's entry if it may be served within a bound and was among the first so many that were learnt, and
// what proves it.
func (t *tags) current(name string, bound time.Duration, learnt uint64) (e *entry[string, uint64], proved int64) {
	t.mu.RLock()
	k := t.by[name]
	t.mu.RUnlock()
	e = k.entry
	if e == nil || k.number > learnt || e.stamp.Expired(t.client.coarseNow()) {
		return nil, 0
	}
	proved = e.stamp.AsOf(t.client.fence)
	switch v := e.stamp.Check(t.client.fence); {
	case v == fence.Current:
	case bound > 0 && v == fence.Unvouched && proved > 0 && t.client.now()-proved <= int64(bound):
	default:
		return nil, 0
	}
	return e, proved
}

// settle is current, and reads the tag if need be: it is loaded and filled by the first read, comes from a GET that
// Redis tracks by the second, and by the third if the push of the fill came in between.
func (t *tags) settle(ctx context.Context, name string, bound time.Duration) (*entry[string, uint64], int64, error) {
	for tries := 0; ; tries++ {
		if e, proved := t.current(name, bound, math.MaxUint64); e != nil {
			return e, proved, nil
		}
		if tries == 4 {
			return nil, 0, errTagUnsettled
		}
		if _, err := t.Read(ctx, name, ReadOptions{MaxStaleness: bound}); err != nil {
			return nil, 0, err
		}
	}
}

var errTagUnsettled = errors.New("nearcache: nothing vouches for a tag")

// tagged is what an entry of L1 depends on.
type tagged []tagRef

type tagRef struct {
	name  string
	entry *entry[string, uint64] // current when the entry was admitted; its value is the tag's version
}

// check says whether all tags have the versions that they had, and since when at the latest that is proved; proved is
// the entry's own. Like the entry's, a tag's proof is taken before it is checked.
func (ts tagged) check(f *fence.Fence, now, proved int64) (fence.Verdict, int64) {
	worst := fence.Current
	for i := range ts {
		e := ts[i].entry
		proved = min(proved, e.stamp.AsOf(f))
		v := e.stamp.Check(f)
		if e.stamp.Expired(now) {
			v = fence.Invalidated
		}
		switch {
		case v == fence.Invalidated || v == fence.Collided:
			return fence.Invalidated, 0
		case v != fence.Current:
			worst = v
		}
	}
	return worst, proved
}

// names are a value's tags as keys, the namespace's own among them if it can be cleared.
func (c *Cache[K, V]) tagNames(of []string) []string {
	names := make([]string, 0, len(of)+1)
	for _, tag := range of {
		names = append(names, TagKey(c.namespace, tag))
	}
	if c.opt.Clearable {
		names = append(names, TagKey(c.namespace, ""))
	}
	return names
}

// tagsBefore are the versions that tags had when a load began, or earlier: an older one than the value saw costs a
// load, a newer one would hide an invalidation:
//
//	load: reads the old value       a writer: changes it, and invalidates its tag
//	load: learns the tag's version, which is the new one already, and keeps it with the old value
//
// So a tag that was not known here before the load began makes its value uncacheable: again says so, and that the tags
// have been looked up, so that a second load would find them.
func (c *Cache[K, V]) tagsBefore(ctx context.Context, names []string, learnt uint64) (ts tagged, again bool) {
	t, err := c.client.openTags()
	if err != nil {
		return nil, false
	}
	for _, name := range names {
		if e, _ := t.current(name, c.opt.MaxStaleness, learnt); e != nil {
			ts = append(ts, tagRef{name, e})
			continue
		}
		if _, _, err := t.settle(ctx, name, c.opt.MaxStaleness); err != nil {
			return nil, false
		}
		again = true
	}
	return ts, again
}

// tagCount is how many tags a value depends on.
func (c *Cache[K, V]) tagCount(got Entry[V]) int {
	if c.opt.Clearable {
		return len(got.Tags) + 1
	}
	return len(got.Tags)
}

// maxTagsOfValue is half of what a client remembers.
const maxTagsOfValue = maxTags / 2

// tagsFit reports whether a value's tags can be kept. An empty one cannot: it is the name of the whole namespace, which
// InvalidateTag refuses.
func (c *Cache[K, V]) tagsFit(got Entry[V]) bool {
	if len(got.Tags) > maxTagsOfValue {
		return false
	}
	for _, tag := range got.Tags {
		if tag == "" {
			return false
		}
	}
	return true
}

// tagsOfEntry are an entry's tags as its Loader gave them.
func (c *Cache[K, V]) tagsOfEntry(e *entry[K, V]) (of []string) {
	for _, t := range e.tags() {
		if tag := strings.TrimPrefix(t.name, TagKey(c.namespace, "")); tag != "" {
			of = append(of, tag)
		}
	}
	return of
}

// tagsUnproved reports whether values with tags are not cached at all: they have a bound, and no source proves their
// tags; or nothing tells this process that a tag has changed.
func (c *Cache[K, V]) tagsUnproved() bool {
	return c.opt.MaxStaleness > 0 && c.client.versions == nil || c.client.tagsUntold(c.opt.MaxStaleness)
}

// loadedTags resolves a loaded value's tags to the versions that were known before the load began. again is true if
// some were unknown; a second load will find them.
func (c *Cache[K, V]) loadedTags(ctx context.Context, got Entry[V], learnt uint64) (ts tagged, again bool) {
	if c.tagCount(got) == 0 || c.tagsUnproved() || !c.tagsFit(got) {
		return nil, false
	}
	return c.tagsBefore(ctx, c.tagNames(got.Tags), learnt)
}

// tagsOf are a record's tags, if each has the version still that the record says; proved is since when at the latest
// that is proved.
func (c *Cache[K, V]) tagsOf(ctx context.Context, rec *l2.Record, proved int64) (ts tagged, since int64, ok bool) {
	if c.opt.Clearable && len(rec.Tags) == 0 {
		return nil, 0, false // from before it was
	}
	t, err := c.client.openTags()
	if err != nil {
		return nil, 0, false
	}
	for _, tag := range rec.Tags {
		e, p, err := t.settle(ctx, tag.Name, c.opt.MaxStaleness)
		if err != nil || e.value != uint64(tag.Version) {
			return nil, 0, false
		}
		ts, proved = append(ts, tagRef{tag.Name, e}), min(proved, p)
	}
	return ts, proved, true
}

// tagsKnown reports whether tagsOf needs no I/O.
func (c *Cache[K, V]) tagsKnown(rec *l2.Record) bool {
	t := c.client.tags.Load()
	if t == nil {
		return false
	}
	for _, tag := range rec.Tags {
		if e, _ := t.current(tag.Name, c.opt.MaxStaleness, math.MaxUint64); e == nil {
			return false
		}
	}
	return true
}

// records are tags as a record has them.
func (ts tagged) records() (out []l2.Tag) {
	for _, t := range ts {
		out = append(out, l2.Tag{Name: t.name, Version: Version(t.entry.value)})
	}
	return out
}

// InvalidateTag makes every value of this cache that depends on a tag (Entry.Tags) be loaded again, on every instance
// and in L2, however many there are: it is one write. With a source that can count versions (coherence.Bumper) it is a
// commit, and carried as one, so that reads with a bound keep it; otherwise it changes a random number in Redis, of
// which no bound can tell: caches with a MaxStaleness do not cache tagged values then. What it returns is what Write
// does.
func (c *Cache[K, V]) InvalidateTag(ctx context.Context, tag string) error {
	if tag == "" {
		return errors.New("nearcache: InvalidateTag: the tag is empty; Clear is for the whole cache")
	}
	return c.bumpTag(ctx, tag)
}

// Clear is InvalidateTag for all values of a cache that is Options.Clearable.
func (c *Cache[K, V]) Clear(ctx context.Context) error {
	if !c.opt.Clearable {
		return fmt.Errorf("nearcache: cache %q: Clear: %w: Options.Clearable is not set", c.namespace, ErrUnsupported)
	}
	return c.bumpTag(ctx, "")
}

func (c *Cache[K, V]) bumpTag(ctx context.Context, tag string) error {
	if err := c.client.usable(ctx); err != nil {
		return err
	}
	t, err := c.client.openTags()
	if err != nil {
		return err
	}
	name := TagKey(c.namespace, tag)
	_, err = t.Write(ctx, name, func(ctx context.Context) (Version, error) {
		b := coherence.AbilitiesOf(c.client.source).Bumper
		switch {
		case c.client.versions == nil:
			return 0, nil
		case b == nil:
			return 0, fmt.Errorf("%w: %w: %T tells versions and is no coherence.Bumper: count one of %s %q in a transaction of "+
				"your own",
				ErrNotCommitted, ErrUnsupported, c.client.source, TagNamespace, name)
		}
		return b.BumpKey(ctx, TagNamespace, name)
	})
	return err
}

// tagCodec is eight bytes.
type tagCodec struct{}

func (tagCodec) Append(b []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(b, v), nil
}

func (tagCodec) Decode(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, errors.New("a tag's version has 8 bytes")
	}
	return binary.BigEndian.Uint64(b), nil
}
