// Package peers puts every cache that is compared behind one interface. Each is used as its own documentation advises, in
// a file of its own that cites the page; Conform is what each must pass before anything of it is timed.
package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// ErrMiss says that a key is nowhere, the source included.
var ErrMiss = errors.New("peers: absent")

// Peer is a cache in front of a Source, as an application sees it.
type Peer[V any] interface {
	// Get reads through the cache. An absent key is ErrMiss.
	Get(ctx context.Context, key string) (V, error)
	// Write is a write by this application: the source first, and then whatever the cache's documentation asks for.
	Write(ctx context.Context, key string, v V) error
	// Delete is a delete by this application.
	Delete(ctx context.Context, key string) error
	// Loop reads n keys, beginning at from and going round, and counts the values that it got. It calls the cache itself, so
	// that nothing of this interface is in what is timed.
	Loop(ctx context.Context, keys []string, from, n int) (hits int)
	// Stored is what a foreign program would write to Redis to change the key: the Redis key and the bytes. Both are "" where
	// the cache keeps nothing in Redis.
	Stored(key string, v V, version uint64) (redisKey, value string)
	Close() error
}

// Counter is a peer whose Loop cannot see which tier answered: it counts what the near one did.
type L1Counter interface{ L1Hits() int64 }

// Fetcher is a peer that reads many keys in one go. It is for filling a near tier, and nothing timed.
type Fetcher interface {
	Fetch(ctx context.Context, keys []string) error
}

// Source is the source of truth below a cache.
type Source[V any] interface {
	// Load returns ErrMiss for an absent key, with the absence's version.
	Load(ctx context.Context, key string) (V, uint64, error)
	// Store commits a value and returns its version.
	Store(ctx context.Context, key string, v V) (uint64, error)
	// Remove commits a delete.
	Remove(ctx context.Context, key string) (uint64, error)
}

// Codec turns values into what is kept in Redis.
type Codec[V any] interface {
	Append(b []byte, v V) ([]byte, error)
	Decode(b []byte) (V, error)
}

// World is what a peer runs in.
type Config[V any] struct {
	Redis   string // host:port
	Source  Source[V]
	Codec   Codec[V]
	Prefix  string        // begins the near cache's Redis keys; the others take keys as they are given
	Entries int           // how many entries the near tier is to hold
	Bytes   int64         // how many bytes of encoded values, for caches bounded in bytes
	TTL     time.Duration // of values in both tiers

	// Commits is the source's commit order, which a bound on staleness needs; Relay has the adapter run the relay for it. Of
	// all peers only the near cache takes them. Publisher is where that relay publishes events beside, Events where they come
	// back from.
	Commits   coherence.Source
	Relay     bool
	Publisher coherence.Publisher
	Events    coherence.EventSource
	// Dial makes the near cache's connections to Redis, where somebody counts what goes over them. Defaults to rueidis's own.
	Dial func(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error)
}

// Kind is one way to build a peer.
type Kind[V any] struct {
	Name string
	// Page is the documentation that the adapter follows, Module what is linked.
	Docs, Module string
	// Alone says that it keeps nothing in Redis: other processes share nothing with it.
	LocalOnly bool
	// Far says that it has no near tier.
	NoL1 bool
	Open func(context.Context, Config[V]) (Peer[V], error)
}

// Kinds are all peers, and the near cache's ways to be read.
func Kinds[V any]() []Kind[V] {
	return []Kind[V]{
		NearcacheKind[V](Plain), NearcacheKind[V](Bounded), NearcacheKind[V](ByRead),
		{"ristretto", ristrettoPage, "github.com/dgraph-io/ristretto/v2", true, false, openRistretto[V]},
		{"otter", otterPage, "github.com/maypok86/otter/v2", true, false, openOtter[V]},
		{"rueidis DoCache", rueidisPage, "github.com/redis/rueidis", false, false, openDoCache[V]},
		{"go-redis CSC", goRedisPage, "github.com/redis/go-redis/v9", false, false, openGoRedis[V]},
		{"go-redis/cache", goRedisCachePage, "github.com/go-redis/cache/v9", false, false, openGoRedisCache[V]},
		{"sturdyc", sturdycPage, "github.com/viccon/sturdyc", false, false, openSturdyc[V]},
		{"hand-rolled", pubSubPage, "github.com/dgraph-io/ristretto/v2", false, false, openPubSub[V]},
		{"Redis GET", plainPage, "github.com/redis/rueidis", false, true, openPlain[V]},
		{"source", "", "", true, true, openNoCache[V]},
	}
}

// Named is the kind of a name.
func Named[V any](name string) (Kind[V], bool) {
	for _, k := range Kinds[V]() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind[V]{}, false
}
