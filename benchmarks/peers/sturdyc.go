package peers

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/redis/rueidis"
	"github.com/viccon/sturdyc"
)

const sturdycPage = "https://github.com/viccon/sturdyc#distributed-storage"

// Sturdyc is sturdyc with Redis as its distributed storage. Its documentation advises short TTLs, because no process
// learns of the writes of another. The TTL here is that of the other peers, so that speed is compared at the same hit
// ratio. The freshness section shows the price.
type Sturdyc[V any] struct {
	Client rueidis.Client
	Cache  *sturdyc.Client[V]
	world  Config[V]
}

func openSturdyc[V any](_ context.Context, w Config[V]) (Peer[V], error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.Redis}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	s := &Sturdyc[V]{Client: c, world: w}
	s.Cache = sturdyc.New[V](2*w.Entries, 10, w.TTL, 10, sturdyc.WithDistributedStorage(storage{c, w.TTL}),
		sturdyc.WithNoContinuousEvictions())
	return s, nil
}

// storage is the adapter that the documentation asks the user to write.
type storage struct {
	client rueidis.Client
	ttl    time.Duration
}

// Get implements sturdyc.DistributedStorage.
func (s storage) Get(ctx context.Context, key string) ([]byte, bool) {
	b, err := s.client.Do(ctx, s.client.B().Get().Key(key).Build()).AsBytes()
	return b, err == nil
}

// Set implements sturdyc.DistributedStorage.
func (s storage) Set(ctx context.Context, key string, value []byte) {
	s.client.Do(ctx, s.client.B().Set().Key(key).Value(rueidis.BinaryString(value)).Px(s.ttl).Build())
}

// GetBatch implements sturdyc.DistributedStorage.
func (s storage) GetBatch(ctx context.Context, keys []string) map[string][]byte {
	got, err := rueidis.MGet(s.client, ctx, keys)
	if err != nil {
		return nil
	}
	out := make(map[string][]byte, len(got))
	for k, m := range got {
		if b, err := m.AsBytes(); err == nil {
			out[k] = b
		}
	}
	return out
}

// SetBatch implements sturdyc.DistributedStorage.
func (s storage) SetBatch(ctx context.Context, records map[string][]byte) {
	for k, v := range records {
		s.Set(ctx, k, v)
	}
}

// Get implements Peer.
func (s *Sturdyc[V]) Get(ctx context.Context, key string) (V, error) {
	v, err := s.Cache.GetOrFetch(ctx, key, func(ctx context.Context) (V, error) {
		v, _, err := s.world.Source.Load(ctx, key)
		if errors.Is(err, ErrMiss) {
			err = sturdyc.ErrNotFound
		}
		return v, err
	})
	if errors.Is(err, sturdyc.ErrNotFound) {
		err = ErrMiss
	}
	return v, err
}

// Write implements Peer. The cache writes only fetched values to its storage, so the writer writes the others.
func (s *Sturdyc[V]) Write(ctx context.Context, key string, v V) error {
	if _, err := s.world.Source.Store(ctx, key, v); err != nil {
		return err
	}
	_, b := s.Stored(key, v, 0)
	storage{s.Client, s.world.TTL}.Set(ctx, key, []byte(b))
	s.Cache.Set(key, v)
	return nil
}

// Delete implements Peer.
func (s *Sturdyc[V]) Delete(ctx context.Context, key string) error {
	if _, err := s.world.Source.Remove(ctx, key); err != nil {
		return err
	}
	err := s.Client.Do(ctx, s.Client.B().Del().Key(key).Build()).Error()
	s.Cache.Delete(key)
	return err
}

// Loop implements Peer.
func (s *Sturdyc[V]) Loop(_ context.Context, keys []string, from, n int) (hits int) {
	i := from % len(keys)
	for range n {
		if _, ok := s.Cache.Get(keys[i]); ok {
			hits++
		}
		i = next(i, len(keys))
	}
	return hits
}

// Stored implements Peer, in the format of sturdyc's records.
func (s *Sturdyc[V]) Stored(key string, v V, _ uint64) (string, string) {
	b, err := json.Marshal(struct {
		CreatedAt time.Time `json:"created_at"`
		Value     V         `json:"value"`
		Missing   bool      `json:"is_missing_record"`
	}{time.Now(), v, false})
	if err != nil {
		panic(err)
	}
	return key, string(b)
}

// Close implements Peer.
func (s *Sturdyc[V]) Close() error {
	s.Client.Close()
	return nil
}
