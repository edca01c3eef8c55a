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

// observerConfig is the configuration of a process that has one instance and observes one key on it.
type observerConfig struct {
	Observations string // the file of the shared observations
	Processes    int
	Process      int
	Pace         time.Duration
	Prefix       string
	Redis        string
	Shared       string // the file of the shared source
	Kind         string
	Push         string // also listen to Redis's own push of this Redis key; "": do not
	Kafka        *kafkaConfig
}

// observer reads a key at a fixed pace from the announcement of a write until its instance returns the new value, and
// then until the instance holds that value in L1.
type observer struct {
	c        observerConfig
	obs      *observations
	key      string
	read     func(ctx context.Context) (seq uint64, inL1 bool, err error)
	trackKey func(ctx context.Context) error // asks Redis for the next push; nil if Push is ""
	cleanups cleanups
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
			fmt.Fprintln(os.Stderr, w.err) // the driver would only see that this observer is never ready
		}
	})
	return w, nil
}

// openRedis opens an instance that Redis informs of changes.
func (w *observer) openRedis(ctx context.Context) error {
	t, err := openSharedSource(w.c.Shared, 1, sharedValueBytes)
	if err != nil {
		return err
	}
	w.cleanups.add(noError(t.close))
	kind, ok := peers.Named[string](w.c.Kind)
	if !ok {
		return fmt.Errorf("suite: no peer %q", w.c.Kind)
	}
	p, err := kind.Open(ctx, peers.Config[string]{Redis: w.c.Redis, Source: t, Codec: peers.Raw{},
		Prefix: w.c.Prefix, Entries: 100, Bytes: 1 << 20, TTL: time.Hour})
	if err != nil {
		return err
	}
	w.cleanups.add(p.Close)
	if n, ok := p.(*peers.Nearcache[string]); ok {
		w.read = reading(n.Cache, w.key)
		return nil
	}
	w.read = readingPeer(p, w.key)
	return nil
}

// reading returns a function that reads a near cache, which itself reports the tier that answered.
func reading(c *nearcache.Cache[string, string], key string) func(context.Context) (uint64, bool, error) {
	return func(ctx context.Context) (uint64, bool, error) {
		r, err := c.Read(ctx, key, nearcache.ReadOptions{})
		return sequenceOf(r.Value), r.Tier == nearcache.TierL1, err
	}
}

// readingPeer returns a function that reads another cache. If the cache does not count its hits, a second read by Loop,
// which counts only hits in L1, says whether the value is there.
func readingPeer(p peers.Peer[string], key string) func(context.Context) (uint64, bool, error) {
	counter, counts := p.(peers.L1Counter)
	keys := []string{key}
	return func(ctx context.Context) (uint64, bool, error) {
		if !counts {
			v, err := p.Get(ctx, key)
			return sequenceOf(v), p.Loop(ctx, keys, 0, 1) == 1, err
		}
		before := counter.L1Hits()
		v, err := p.Get(ctx, key)
		return sequenceOf(v), counter.L1Hits() > before, err
	}
}

// listenForPush opens a connection that does nothing but receive invalidations of the key, as the caches receive them.
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
	w.cleanups.add(noError(c.Close))
	w.trackKey = func(ctx context.Context) error { return c.Do(ctx, c.B().Get().Key(w.c.Push).Build()).Error() }
	return nil
}

// watch observes one write after the other, as the driver announces them.
func (w *observer) watch(ctx context.Context) error {
	for done := uint64(0); ctx.Err() == nil; {
		seq := w.obs.awaited()
		if seq == done {
			preciseSleep(obsIdle)
			continue
		}
		w.awaitValue(ctx, seq)
		w.awaitL1(ctx, seq)
		if w.trackKey != nil {
			for seq > 1 && ctx.Err() == nil && atomic.LoadUint64(w.at(obsPush)) == 0 {
				preciseSleep(w.c.Pace)
			}
			if err := w.trackKey(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		atomic.StoreUint64(w.at(obsReady), seq)
		done = seq
	}
	return nil
}

func (w *observer) at(what int) *uint64 { return w.obs.at(w.c.Process, what) }

// awaitValue reads until the instance returns the new value.
func (w *observer) awaitValue(ctx context.Context, seq uint64) {
	for ctx.Err() == nil {
		start := uint64(time.Now().UnixNano())
		got, _, err := w.read(ctx)
		switch {
		case err != nil:
			atomic.AddUint64(w.at(obsFailedReads), 1)
		case got >= seq:
			atomic.StoreUint64(w.at(obsNewRead), start)
			return
		default:
			atomic.StoreUint64(w.at(obsOldRead), start)
		}
		preciseSleep(w.c.Pace)
	}
}

// awaitL1 reads until the instance holds the new value in L1. The old value may still come back.
func (w *observer) awaitL1(ctx context.Context, seq uint64) {
	for ctx.Err() == nil {
		start := uint64(time.Now().UnixNano())
		got, inL1, err := w.read(ctx)
		if err == nil && got < seq {
			atomic.StoreUint64(w.at(obsOldRead), start)
		} else if inL1 && err == nil {
			return
		}
		preciseSleep(w.c.Pace)
	}
}

// do ends the observation and returns its error.
func (w *observer) do(_ context.Context, command string) (any, error) {
	if command != "end" {
		return nil, fmt.Errorf("suite: unknown command %q", command)
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
	if err := w.cleanups.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if w.obs != nil {
		unmapFile(w.obs.words)
	}
}
