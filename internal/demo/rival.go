package demo

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/product"
)

// rivalTTL is the TTL of the plain caches. It stands for the hour of the article, so that a value can be seen to
// expire.
const rivalTTL = 30 * time.Second

// pubsubChannel is where the plain cache's writers name the keys that they have changed.
const pubsubChannel = "demo:changed"

// rival is a plain cache of one instance: a map whose entries expire. It is what one writes in an afternoon. It keeps
// no guarantee but that of its TTL: a reader that loads stores what it has loaded, whatever has happened meanwhile.
type rival struct {
	load func(ctx context.Context, id string) (product.Version, error)

	mu      sync.Mutex
	entries map[string]rivalEntry
	evicted int // messages that have evicted a key, or would have
}

type rivalEntry struct {
	version product.Version
	until   time.Time
}

func newRival(load func(context.Context, string) (product.Version, error)) *rival {
	return &rival{load: load, entries: make(map[string]rivalEntry)}
}

// get returns the version that the cache answers with.
func (r *rival) get(ctx context.Context, id string) (product.Version, error) {
	r.mu.Lock()
	e, ok := r.entries[id]
	r.mu.Unlock()
	if ok && time.Now().Before(e.until) {
		return e.version, nil
	}
	v, err := r.load(ctx, id)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	r.entries[id] = rivalEntry{v, time.Now().Add(rivalTTL)}
	r.mu.Unlock()
	return v, nil
}

// evict drops a key because of a message.
func (r *rival) evict(id string) {
	r.mu.Lock()
	delete(r.entries, id)
	r.evicted++
	r.mu.Unlock()
}

// clear drops everything, as a restart would.
func (r *rival) clear() {
	r.mu.Lock()
	clear(r.entries)
	r.mu.Unlock()
}

func (r *rival) evictions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.evicted
}

// follow evicts what Redis's messages name, until ctx ends. A message that is sent while there is no connection is
// lost: nobody sends it again.
func (r *rival) follow(ctx context.Context, o rueidis.ClientOption) {
	o.DisableCache, o.DisableRetry = true, true
	for ctx.Err() == nil {
		if c, err := rueidis.NewClient(o); err == nil {
			_ = c.Receive(ctx, c.B().Subscribe().Channel(pubsubChannel).Build(), func(m rueidis.PubSubMessage) {
				r.evict(m.Message)
			})
			c.Close()
		}
		pause(ctx, 200*time.Millisecond)
	}
}

// pause waits for a time or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
