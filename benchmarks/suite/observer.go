package suite

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
	"github.com/nearcache/nearcache-go/nearcache"
)

// watching is the configuration of a process that has one instance and watches one key on it.
type observerConfig struct {
	Observations string
	Processes    int
	Process      int
	Pace         time.Duration
	Prefix       string
	Redis        string
	Truth        string
	Kind         string
	Push         string // the Redis key whose own push is listened to as well; "": none
	Kafka        *kafkaConfig
}

// watcher reads a key at a fixed pace, from when a write is announced until this instance gives its value, and then
// until the instance holds it near.
type observer struct {
	c        observerConfig
	obs      *observations
	key      string
	read     func(ctx context.Context) (seq uint64, near bool, err error)
	trackKey func(ctx context.Context) error // of the push; nil: not listened to
	cleanups []func()
	stop     context.CancelFunc
	loop     sync.WaitGroup
	err      error // why the loop ended
}

func newObserver(ctx context.Context, c observerConfig) (_ *observer, err error) {
	w := &observer{c: c, key: keyName(c.Prefix, 0)}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.obs, err = openObservations(c.Observations, c.Processes); err != nil {
		return nil, err
	}
	if c.Kafka != nil {
		err = w.openKafka(ctx)
	} else {
		err = w.openRedis(ctx)
	}
	if err == nil && c.Push != "" {
		err = w.listenForPush()
	}
	if err != nil {
		return nil, err
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.loop.Go(func() {
		if w.err = w.watch(ctx); w.err != nil {
			fmt.Fprintln(os.Stderr, w.err) // the driver waits in vain
		}
	})
	return w, nil
}

// openDirect is an instance on Redis.
func (w *observer) openRedis(ctx context.Context) error {
	t, err := openSharedSource(w.c.Truth, 1, sharedValueBytes)
	if err != nil {
		return err
	}
	w.cleanups = append(w.cleanups, t.close)
	kind, ok := peers.Named[string](w.c.Kind)
	if !ok {
		return fmt.Errorf("suite: no peer %q", w.c.Kind)
	}
	p, err := kind.Open(ctx, peers.Config[string]{Redis: w.c.Redis, Source: t, Codec: peers.Raw{},
		Prefix: w.c.Prefix, Entries: 100, Bytes: 1 << 20, TTL: time.Hour})
	if err != nil {
		return err
	}
	w.cleanups = append(w.cleanups, func() { _ = p.Close() })
	if n, ok := p.(*peers.Nearcache[string]); ok {
		w.read = reading(n.Cache, w.key)
		return nil
	}
	hits := func() int64 { return 0 }
	if c, ok := p.(peers.L1Counter); ok {
		hits = c.L1Hits
	}
	keys := []string{w.key}
	_, counts := p.(peers.L1Counter)
	w.read = func(ctx context.Context) (uint64, bool, error) {
		before := hits()
		v, err := p.Get(ctx, w.key)
		near := hits() > before
		if !counts {
			near = p.Loop(ctx, keys, 0, 1) == 1
		}
		return sequenceOf(v), near, err
	}
	return nil
}

// reading reads a cache, which says what tier answered.
func reading(c *nearcache.Cache[string, string], key string) func(context.Context) (uint64, bool, error) {
	return func(ctx context.Context) (uint64, bool, error) {
		r, err := c.Read(ctx, key, nearcache.ReadOptions{})
		return sequenceOf(r.Value), r.Tier == nearcache.TierL1, err
	}
}

// listen has Redis push to a connection that does nothing else, tracking the key as the caches do.
func (w *observer) listenForPush() error {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{w.c.Redis}, PipelineMultiplex: -1,
		ClientTrackingOptions: []string{},
		OnInvalidations: func(m []rueidis.RedisMessage) {
			if len(m) > 0 {
				w.obs.recordOnce(w.c.Process, obsPush)
			}
		}})
	if err != nil {
		return err
	}
	w.cleanups = append(w.cleanups, c.Close)
	w.trackKey = func(ctx context.Context) error { return c.Do(ctx, c.B().Get().Key(w.c.Push).Build()).Error() }
	return nil
}

// watch follows the board.
func (w *observer) watch(ctx context.Context) error {
	me := w.c.Process
	for done := uint64(0); ctx.Err() == nil; {
		seq := w.obs.awaited()
		if seq == done {
			preciseSleep(obsIdle)
			continue
		}
		for ctx.Err() == nil {
			begun := uint64(time.Now().UnixNano())
			got, _, err := w.read(ctx)
			if err != nil {
				atomic.AddUint64(w.obs.at(me, obsFailedReads), 1)
			} else if got >= seq {
				atomic.StoreUint64(w.obs.at(me, obsNewRead), begun)
				break
			} else {
				atomic.StoreUint64(w.obs.at(me, obsOldRead), begun)
			}
			preciseSleep(w.c.Pace)
		}
		for ctx.Err() == nil {
			begun := uint64(time.Now().UnixNano())
			got, near, err := w.read(ctx)
			if err == nil && got < seq { // it came back
				atomic.StoreUint64(w.obs.at(me, obsOldRead), begun)
			} else if near && err == nil {
				break
			}
			preciseSleep(w.c.Pace)
		}
		if w.trackKey != nil {
			for seq > 1 && ctx.Err() == nil && atomic.LoadUint64(w.obs.at(me, obsPush)) == 0 {
				preciseSleep(w.c.Pace)
			}
			if err := w.trackKey(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		atomic.StoreUint64(w.obs.at(me, obsReady), seq)
		done = seq
	}
	return nil
}

// do ends the watch and says how it went.
func (w *observer) do(_ context.Context, command string) (any, error) {
	if command != "end" {
		return nil, fmt.Errorf("suite: there is no order %q", command)
	}
	w.stop()
	w.loop.Wait()
	return struct{}{}, w.err
}

func (w *observer) close() {
	if w.stop != nil {
		w.stop()
		w.loop.Wait()
	}
	for i := len(w.cleanups) - 1; i >= 0; i-- {
		w.cleanups[i]()
	}
	if w.obs != nil {
		unmapFile(w.obs.words)
	}
}
