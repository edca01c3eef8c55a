// Package peers has an adapter for every cache that is compared. Each adapter follows the documentation of its cache,
// which its file cites. A cache must pass Conform before it is timed.
package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/nearcache"
)

// ErrMiss says that a key is absent, in the source too.
var ErrMiss = errors.New("peers: absent")

// Peer is a cache in front of a Source, as an application sees it.
type Peer[V any] interface {
	// Get reads through the cache. An absent key is ErrMiss.
	Get(ctx context.Context, key string) (V, error)
	// Write is a write by this application: first to the source, then as the documentation of the cache says.
	Write(ctx context.Context, key string, v V) error
	// Delete is a delete by this application.
	Delete(ctx context.Context, key string) error
	// Loop reads n keys, from index from on and in a circle, and returns how many values it got. It calls the cache
	// directly, so that this interface adds nothing to the time.
	Loop(ctx context.Context, keys []string, from, n int) (hits int)
	// Stored returns the Redis key and the bytes that another program would write to Redis to change the key. Both are
	// "" if the cache keeps nothing in Redis.
	Stored(key string, v V, version uint64) (redisKey, value string)
	Close() error
}

// L1Counter is a peer whose Loop cannot see which tier answered, but which counts its hits in L1.
type L1Counter interface{ L1Hits() int64 }

// Fetcher is a peer that reads many keys in one call. It fills L1, and is not timed.
type Fetcher interface {
	Fetch(ctx context.Context, keys []string) error
}

// Source is the source of truth below a cache.
type Source[V any] interface {
	// Load returns ErrMiss for an absent key, with the version of its deletion.
	Load(ctx context.Context, key string) (V, uint64, error)
	// Store commits a value and returns its version.
	Store(ctx context.Context, key string, v V) (uint64, error)
	// Remove commits a delete.
	Remove(ctx context.Context, key string) (uint64, error)
}

// Codec encodes values for Redis.
type Codec[V any] interface {
	Append(b []byte, v V) ([]byte, error)
	Decode(b []byte) (V, error)
}

// Config is the configuration of a peer.
type Config[V any] struct {
	Redis   string // host:port
	Source  Source[V]
	Codec   Codec[V]
	Prefix  string        // the near cache's prefix for Redis keys; the other peers use keys unchanged
	Entries int           // how many entries L1 must hold
	Bytes   int64         // the size of the encoded values, for caches with a limit in bytes
	TTL     time.Duration // of values in both tiers

	// Only the near cache uses the following fields. Commits is the commit order of the source, which a bound on
	// staleness needs. If Relay is set, the adapter runs the relay. Publisher is where that relay also publishes
	// events, Events where they come back from.
	Commits   coherence.Source
	Relay     bool
	Publisher coherence.Publisher
	Events    coherence.EventSource
	// Dial opens the near cache's connections to Redis, for a caller that counts their traffic. Defaults to rueidis's
	// own.
	Dial func(ctx context.Context, addr string, d *net.Dialer, cfg *tls.Config) (net.Conn, error)
	// Configure may modify the configuration of the near cache's client.
	Configure func(*nearcache.Config)
}

// Kind is one way to build a peer.
type Kind[V any] struct {
	Name string
	// Docs is the documentation that the adapter follows, Module the module that is linked.
	Docs, Module string
	// LocalOnly says that the cache keeps nothing in Redis, so processes share nothing.
	LocalOnly bool
	// NoL1 says that the cache keeps nothing in the process.
	NoL1 bool
	Open func(context.Context, Config[V]) (Peer[V], error)
}

// Kinds returns all peers, with several variants of the near cache.
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

// Named returns the kind with a name.
func Named[V any](name string) (Kind[V], bool) {
	for _, k := range Kinds[V]() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind[V]{}, false
}
