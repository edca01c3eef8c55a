package suite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// fixture is an open peer, its keys and its source.
type fixture[V any] struct {
	name string
	peer peers.Peer[V]
	keys []string
	src  *peers.Memory[V]
	noL1 bool
}

// subject returns the peer as a subject of a comparison.
func (s *fixture[V]) subject(ctx context.Context) measure.Subject {
	sub := measure.Subject{Name: s.name, MinHit: 0.995, Loop: func(_, from,
		n int) int {
		return s.peer.Loop(ctx, s.keys, from, n)
	}}
	if c, ok := s.peer.(peers.L1Counter); ok {
		sub.L1Hits = c.L1Hits
	}
	return sub
}

// dataset is n values of a size.
type dataset[V any] struct {
	n     int
	value func(i int) V
	codec peers.Codec[V]
	bytes int64 // the size of an encoded value
}

// products is a dataset of n products.
func products(n, size int) dataset[peers.Product] {
	return dataset[peers.Product]{n, func(i int) peers.Product { return peers.NewProduct(i, size) },
		peers.JSON[peers.Product]{}, int64(size)}
}

// The sizes of values, in bytes of JSON.
const (
	smallValue = 150
	largeValue = 4096
)

// openFilled opens a peer and brings all of the data into Redis, in the peer's format, and into its L1.
func openFilled[V any](ctx context.Context, e *Env, kind peers.Kind[V], name string, d dataset[V]) (*fixture[V],
	error) {
	s, err := openUnfilled(ctx, e, kind, name, d)
	if err != nil {
		return nil, err
	}
	if err := s.fillL1(ctx, 0.999); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
	}
	s.keys = shuffledCopies(s.keys)
	return s, nil
}

// openUnfilled is openFilled with an empty L1.
func openUnfilled[V any](ctx context.Context, e *Env, kind peers.Kind[V], name string, d dataset[V]) (*fixture[V],
	error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, err
	}
	prefix := "s" + strconv.FormatInt(e.names.Add(1), 10)
	s := &fixture[V]{name: name, noL1: kind.NoL1, src: peers.NewMemory[V](), keys: make([]string, d.n)}
	for i := range s.keys {
		s.keys[i] = fmt.Sprintf("%s-%07d", prefix, i)
		s.src.Seed(s.keys[i], d.value(i))
	}
	s.peer, err = kind.Open(ctx, peers.Config[V]{Redis: addr, Source: s.src, Codec: d.codec, Prefix: prefix,
		Entries: d.n, Bytes: d.bytes * int64(d.n),
		TTL: time.Hour, Commits: s.src, Relay: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := s.fillRedis(ctx, e, d); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), s.peer.Close())
	}
	return s, nil
}

// shuffledCopies returns the keys as requests bring them: not in the order in which the cache was filled, which the
// processor would recognize and prefetch, and as new strings, as if they had just been received.
func shuffledCopies(keys []string) []string {
	out := make([]string, len(keys))
	var all strings.Builder
	for _, i := range rand.Perm(len(keys)) {
		all.WriteString(keys[i])
	}
	at := 0
	for i := range out { // all keys have one length
		n := len(keys[i])
		out[i] = all.String()[at : at+n]
		at += n
	}
	return out
}

// fillRedis writes the data to Redis, in the format of the peer.
func (s *fixture[V]) fillRedis(ctx context.Context, e *Env, d dataset[V]) error {
	if at, _ := s.peer.Stored(s.keys[0], d.value(0), 1); at == "" {
		return nil
	}
	return e.store(ctx, len(s.keys), func(i int) (at, value string) { return s.peer.Stored(s.keys[i], d.value(i), 1) })
}

// readAll reads every key once.
func (s *fixture[V]) readAll(ctx context.Context) error {
	return each(ctx, 32, len(s.keys)/100+1, func(b int) error {
		keys := s.keys[b*100 : min(len(s.keys), (b+1)*100)]
		if f, ok := s.peer.(peers.Fetcher); ok { // a million keys, read one by one, take minutes
			return f.Fetch(ctx, keys)
		}
		for _, k := range keys {
			if _, err := s.peer.Get(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// fillL1 reads until a part of the keys is in L1.
func (s *fixture[V]) fillL1(ctx context.Context, part float64) error {
	for pass := range 40 {
		if err := s.readAll(ctx); err != nil {
			return err
		}
		if s.noL1 {
			return nil
		}
		time.Sleep(time.Duration(pass+1) * time.Millisecond) // ristretto admits entries in the background
		sub := s.subject(ctx)
		near := int64(0)
		if sub.L1Hits != nil {
			near = sub.L1Hits()
		}
		hits := int64(sub.Loop(0, 0, len(s.keys)))
		if sub.L1Hits != nil {
			hits = sub.L1Hits() - near
		}
		if float64(hits) >= part*float64(len(s.keys)) {
			return nil
		}
	}
	return fmt.Errorf("suite: not all of %d keys enter L1", len(s.keys))
}

// openFixtures opens several peers with the same data.
func openFixtures[V any](ctx context.Context, e *Env, d dataset[V], kinds ...peers.Kind[V]) (all []*fixture[V],
	closeAll func(), err error) {
	closeAll = func() {
		for _, s := range all {
			if err := s.peer.Close(); err != nil {
				fmt.Fprintf(e.Log, "close %s: %v\n", s.name, err)
			}
		}
		if err := e.Flush(ctx); err != nil {
			fmt.Fprintln(e.Log, err)
		}
	}
	for _, k := range kinds {
		s, err := openFilled(ctx, e, k, k.Name, d)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, s)
	}
	return all, closeAll, nil
}

// renamed returns a kind under another name.
func renamed[V any](name string, k peers.Kind[V]) peers.Kind[V] {
	k.Name = name
	return k
}

// mustKind returns the kind of a name, which must exist.
func mustKind[V any](name string) peers.Kind[V] {
	k, ok := peers.Named[V](name)
	if !ok {
		panic("suite: no peer " + name)
	}
	return k
}

// constantSource has the same value for every key.
type constantSource struct{ v product }

// Load implements peers.Source.
func (s constantSource) Load(context.Context, string) (product, uint64, error) { return s.v, 1, nil }

// Store implements peers.Source.
func (s constantSource) Store(context.Context, string, product) (uint64, error) { return 2, nil }

// Remove implements peers.Source.
func (s constantSource) Remove(context.Context, string) (uint64, error) { return 3, nil }

// openEmpty opens an empty peer over a constantSource. It returns a prefix for keys.
func openEmpty(ctx context.Context, e *Env, k peers.Kind[product], size, entries int) (peers.Peer[product], string,
	error) {
	addr, err := e.Redis(ctx)
	if err != nil {
		return nil, "", err
	}
	prefix := "s" + strconv.FormatInt(e.names.Add(1), 10)
	p, err := k.Open(ctx, peers.Config[product]{Redis: addr, Source: constantSource{peers.NewProduct(1, size)},
		Codec: peers.JSON[product]{}, Prefix: prefix,
		Entries: entries, Bytes: int64(size * entries), TTL: time.Hour})
	return p, prefix, err
}

func encode(p product) []byte {
	b, err := peers.JSON[product]{}.Append(nil, p)
	if err != nil {
		panic(err)
	}
	return b
}
