package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/peers"
)

// writeKind says how the key is changed.
type writeKind int

const (
	foreignWrite   writeKind = iota // by another program, in Redis
	ownWrite                        // through another instance of the cache
	lostConnection                  // as foreignWrite, while every instance loses its tracking connection
)

// directRun is a measurement of propagation through Redis.
type directRun struct {
	e      *Env
	kind   writeKind
	key    string
	shared *sharedSource
	source *timedStore
	writer peers.Peer[string] // an instance in this process
	obs    *observations
	cleanups
}

// measureDirect measures n writes that reach the instances through Redis.
func (e *Env) measureDirect(ctx context.Context, peer string, n int, kind writeKind) (all []observation, err error) {
	r := &directRun{e: e, kind: kind}
	defer func() { err = errors.Join(err, r.close()) }()
	config, err := r.open(ctx, peer)
	if err != nil {
		return nil, err
	}
	workers, err := e.startWorkers(ctx, processes, "propagation", func(i int) any {
		c := config
		c.Process = i
		return c
	})
	if err != nil {
		return nil, err
	}
	r.add(noError(workers.stop))
	if _, err := r.obs.observe(1, func() (int64, error) { return time.Now().UnixNano(), nil }); err != nil {
		return nil, err
	}
	for seq := uint64(2); len(all) < n; seq++ {
		s, err := r.measureWrite(ctx, seq)
		if err != nil {
			return all, err
		}
		if seq > warmups || kind == lostConnection {
			all = append(all, s)
		}
	}
	return all, workers.run("end")
}

// open opens the writer and the observations, and writes the first value.
func (r *directRun) open(ctx context.Context, peer string) (c observerConfig, err error) {
	kind, ok := peers.Named[string](peer)
	if !ok {
		return c, fmt.Errorf("suite: no peer %q", peer)
	}
	addr, err := r.e.Redis(ctx)
	if err != nil {
		return c, err
	}
	dir, err := r.e.dataDir("shared")
	if err != nil {
		return c, err
	}
	prefix := fmt.Sprintf("s%d", r.e.names.Add(1))
	file := filepath.Join(dir, prefix)
	r.key = keyName(prefix, 0)
	if r.shared, err = openSharedSource(file, 1, sharedValueBytes); err != nil {
		return c, err
	}
	r.add(func() error { r.shared.close(); return os.Remove(file) })
	r.source = &timedStore{sharedSource: r.shared}
	r.writer, err = kind.Open(ctx, peers.Config[string]{Redis: addr, Source: r.source, Codec: peers.Raw{},
		Prefix: prefix, Entries: 100, Bytes: 1 << 20, TTL: time.Hour})
	if err != nil {
		return c, err
	}
	r.add(r.writer.Close)
	if err := r.e.foreign.Do(ctx, r.set(1)).Error(); err != nil {
		return c, err
	}
	obs, obsFile, err := r.e.newObservations(processes)
	if err != nil {
		return c, err
	}
	r.obs = obs
	r.add(noError(func() { obs.close(obsFile) }))
	c = observerConfig{Observations: obsFile, Processes: processes, Pace: directPace, Prefix: prefix, Redis: addr,
		Shared: file, Kind: peer}
	if r.kind == foreignWrite {
		c.Push, _ = r.writer.Stored(r.key, "", 1)
	}
	return c, nil
}

// set commits a value and returns the command by which another program brings it to Redis.
func (r *directRun) set(seq uint64) rueidis.Completed {
	atomic.StoreUint64(r.shared.stored(0), seq)
	name, bytes := r.writer.Stored(r.key, r.shared.value(seq), seq)
	return r.e.foreign.B().Set().Key(name).Value(bytes).Px(time.Hour).Build()
}

func (r *directRun) measureWrite(ctx context.Context, seq uint64) (s observation, err error) {
	var kills []rueidis.Completed
	if r.kind == lostConnection {
		if kills, err = r.e.killTrackingCommands(ctx); err != nil {
			return s, err
		}
	}
	return r.obs.observe(seq, func() (int64, error) {
		if r.kind == ownWrite {
			err := r.writer.Write(ctx, r.key, r.shared.value(seq))
			return r.source.at, err
		}
		cmds := append(kills, r.set(seq))
		start := time.Now().UnixNano()
		res := r.e.foreign.DoMulti(ctx, cmds...)
		return start, res[len(res)-1].Error()
	})
}

// timedStore is a shared source with one writer, which remembers when it last committed.
type timedStore struct {
	*sharedSource
	at int64
}

// Store implements peers.Source.
func (c *timedStore) Store(_ context.Context, _ string, v string) (uint64, error) {
	seq := sequenceOf(v)
	c.at = time.Now().UnixNano()
	atomic.StoreUint64(c.stored(0), seq)
	return seq, nil
}

// killTrackingCommands returns commands that kill every connection for which Redis tracks keys.
func (e *Env) killTrackingCommands(ctx context.Context) (kills []rueidis.Completed, err error) {
	list, err := e.foreign.Do(ctx, e.foreign.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list) {
		var id, flags string
		for field := range strings.FieldsSeq(line) {
			switch name, v, _ := strings.Cut(field, "="); name {
			case "id":
				id = v
			case "flags":
				flags = v
			}
		}
		if strings.Contains(flags, "t") {
			kills = append(kills, e.foreign.B().Arbitrary("CLIENT", "KILL", "ID", id).Build())
		}
	}
	if len(kills) < processes {
		return nil, fmt.Errorf("suite: Redis tracks keys for %d connections, and there are %d instances",
			len(kills), processes)
	}
	return kills, nil
}
