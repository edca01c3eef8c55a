package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache"
)

// namespace is the namespace of the near cache's keys and of Memory's events.
const namespace = "b"

// Bound is the bound on staleness of bounded reads.
const Bound = 250 * time.Millisecond

// Variant is a way to read the near cache.
type Variant int

// The variants.
const (
	Plain   Variant = iota // Get
	Bounded                // Get of a cache with Options.MaxStaleness
	ByRead                 // Read, which also returns the tier and the age
)

// String returns the name of the variant as a peer.
func (v Variant) String() string {
	switch v {
	case Bounded:
		return "nearcache, MaxStaleness 250ms"
	case ByRead:
		return "nearcache, Read"
	}
	return "nearcache"
}

// Nearcache is this repository's library: on Redis only or, if Config has Commits, with a Source.
type Nearcache[V any] struct {
	Client       *nearcache.Client
	Cache        *nearcache.Cache[string, V]
	world        Config[V]
	variant      Variant
	metrics      *prometheus.Registry
	table        float64 // bytes that L1 counts without an entry
	stop         context.CancelFunc
	relay        sync.WaitGroup
	incarnations atomic.Pointer[[l2.Buckets]l2.Watermark]
}

// NearcacheKind returns a variant of the near cache. change may modify its options.
func NearcacheKind[V any](variant Variant, change ...func(*nearcache.Options[string, V])) Kind[V] {
	return Kind[V]{variant.String(), "README.md, \"Use\"", "github.com/nearcache/nearcache-go", false, false,
		func(ctx context.Context, w Config[V]) (Peer[V], error) {
			return OpenNearcache(ctx, w, variant, change...)
		}}
}

// OpenNearcache opens a near cache and waits until its client is ready.
func OpenNearcache[V any](ctx context.Context, w Config[V], variant Variant,
	change ...func(*nearcache.Options[string, V])) (*Nearcache[V], error) {
	n := &Nearcache[V]{world: w, variant: variant, metrics: prometheus.NewRegistry()}
	cfg := nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{w.Redis}, DialCtxFn: w.Dial},
		Prefix: w.Prefix, Source: w.Commits, Events: w.Events,
		Registerer: n.metrics}
	if w.Configure != nil {
		w.Configure(&cfg)
	}
	client, err := nearcache.New(cfg)
	if err != nil {
		return nil, err
	}
	n.Client = client
	var relaying context.Context
	relaying, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	if w.Relay && w.Commits != nil {
		n.relay.Go(func() {
			_ = relay.Relay{Source: w.Commits, L2: client.L2(), Publisher: w.Publisher,
				Keep: 5 * time.Second}.Run(relaying)
		})
	}
	if err := client.Ready(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	o := nearcache.Options[string, V]{Load: n.load, Codec: w.Codec, TTL: w.TTL, L1Bytes: w.Bytes + int64(w.Entries)*512}
	if variant == Bounded {
		o.MaxStaleness = Bound
	}
	for _, f := range change {
		f(&o)
	}
	if n.Cache, err = nearcache.NewCache(client, namespace, o); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.table = n.Metric("nearcache_l1_bytes")
	return n, nil
}

// EntryBytes is what the entries of L1 cost, as its bound counts them.
func (n *Nearcache[V]) EntryBytes() float64 { return n.Metric("nearcache_l1_bytes") - n.table }

func (n *Nearcache[V]) load(ctx context.Context, key string) (nearcache.Entry[V], error) {
	v, version, err := n.world.Source.Load(ctx, key)
	if errors.Is(err, ErrMiss) {
		err = nearcache.ErrNotFound
	}
	return nearcache.Entry[V]{Value: v, Version: nearcache.Version(version)}, err
}

// Get implements Peer.
func (n *Nearcache[V]) Get(ctx context.Context, key string) (v V, err error) {
	if n.variant == ByRead {
		var r nearcache.Result[V]
		r, err = n.Cache.Read(ctx, key, nearcache.ReadOptions{})
		v = r.Value
	} else {
		v, err = n.Cache.Get(ctx, key)
	}
	if errors.Is(err, nearcache.ErrNotFound) {
		err = ErrMiss
	}
	return v, err
}

// Write implements Peer.
func (n *Nearcache[V]) Write(ctx context.Context, key string, v V) error {
	_, err := n.Cache.WriteEntry(ctx, key, func(ctx context.Context) (nearcache.Entry[V], error) {
		version, err := n.world.Source.Store(ctx, key, v)
		return nearcache.Entry[V]{Value: v, Version: nearcache.Version(version)}, err
	})
	return err
}

// Delete implements Peer.
func (n *Nearcache[V]) Delete(ctx context.Context, key string) error {
	_, err := n.Cache.Write(ctx, key, func(ctx context.Context) (nearcache.Version, error) {
		version, err := n.world.Source.Remove(ctx, key)
		return nearcache.Version(version), err
	})
	return err
}

// Loop implements Peer.
func (n *Nearcache[V]) Loop(ctx context.Context, keys []string, from, count int) (hits int) {
	i := from % len(keys)
	if n.variant == ByRead {
		for range count {
			if _, err := n.Cache.Read(ctx, keys[i], nearcache.ReadOptions{}); err == nil {
				hits++
			}
			i = next(i, len(keys))
		}
		return hits
	}
	for range count {
		if _, err := n.Cache.Get(ctx, keys[i]); err == nil {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// L1Hits implements L1Counter. It asks the client and not the registry, which the client may lack.
func (n *Nearcache[V]) L1Hits() int64 {
	answer := httptest.NewRecorder()
	nearcache.DebugHandler(n.Client).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	var seen struct {
		Caches map[string]struct {
			Hits int64 `json:"l1_hits"`
		}
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &seen); err != nil {
		panic(err)
	}
	return seen.Caches[namespace].Hits
}

// Fetch implements Fetcher.
func (n *Nearcache[V]) Fetch(ctx context.Context, keys []string) error {
	got, err := n.Cache.GetMany(ctx, keys)
	if err == nil && len(got) < len(keys) {
		err = ErrMiss
	}
	return err
}

// Metric returns the sum of a metric over its children that have the given label values.
func (n *Nearcache[V]) Metric(name string, labelValues ...string) (sum float64) {
	families, err := n.metrics.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := 0
			for _, l := range m.GetLabel() {
				if slices.Contains(labelValues, l.GetValue()) {
					has++
				}
			}
			if has < len(labelValues) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// Stored implements Peer. It returns a record, as another program writes it that knows the format.
func (n *Nearcache[V]) Stored(key string, v V, version uint64) (string, string) {
	marks := n.watermarks()
	k := l2.FromHandle(n.Client.L2().Handle()).Keyspace().Key(namespace, key)
	now := time.Now()
	b, err := l2.AppendRecord(nil, l2.Record{Incarnation: marks[k.Bucket].Incarnation, Version: coherence.Version(version),
		KeyHash: k.Hash, WrittenAt: now,
		ExpiresAt: now.Add(n.world.TTL), Payload: []byte(encoded(n.world.Codec, v))})
	if err != nil {
		panic(err)
	}
	return k.Record, string(b)
}

// watermarks returns the watermarks of all buckets. A record contains the incarnation of its bucket. If there is a
// relay, incarnations begin with its first round, and an older record would be a miss for ever.
func (n *Nearcache[V]) watermarks() *[l2.Buckets]l2.Watermark {
	if known := n.incarnations.Load(); known != nil {
		return known
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		all, err := l2.FromHandle(n.Client.L2().Handle()).Watermarks(ctx)
		if err != nil {
			panic(fmt.Sprintf("peers: watermarks: %v", err))
		}
		if n.world.Commits == nil || !slices.ContainsFunc(all[:], l2.Watermark.IsZero) {
			n.incarnations.Store(&all)
			return &all
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Close implements Peer.
func (n *Nearcache[V]) Close() error {
	n.stop()
	n.relay.Wait()
	return n.Client.Close()
}
