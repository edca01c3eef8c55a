package operator

import (
	"context"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// watchRedis has Redis push every change below the prefixes, whoever reads the keys.
func (w *watcher) watchRedis(ctx context.Context) (stop func(), err error) {
	engine, closeEngine, err := w.openEngine(ctx)
	if err != nil {
		return nil, err
	}
	w.engine = engine
	opt, err := w.redisOption()
	if err != nil {
		closeEngine()
		return nil, err
	}
	prefix := engine.Keyspace().Prefix()
	w.record = regexp.MustCompile(`(?s)^` + regexp.QuoteMeta(prefix) + `:\{\d+\}:([vl]):([^:]*):(.*)$`)
	pushes := make(chan string, 4096)
	opt.ClientTrackingOptions = append(w.prefixes(prefix), "BCAST")
	opt.OnInvalidations = func(keys []rueidis.RedisMessage) {
		if keys == nil && ctx.Err() == nil {
			w.print(sighting{Channel: "redis", What: "session", Text: "everything was flushed, or the connection was lost"})
		}
		for i := range keys {
			if key, err := keys[i].ToString(); err == nil {
				select {
				case pushes <- key:
				default:
					w.print(sighting{Channel: "redis", What: "lost", Text: "more is pushed than can be printed"})
				}
			}
		}
	}
	client, err := rueidis.NewClient(opt)
	if err != nil {
		closeEngine()
		return nil, fmt.Errorf("watching Redis: %w", err)
	}
	for _, node := range client.Nodes() { // so that every node of a cluster is connected to
		if err := node.Do(ctx, node.B().Ping().Build()).Error(); err != nil {
			client.Close()
			closeEngine()
			return nil, fmt.Errorf("watching Redis: %w", err)
		}
	}
	var wg sync.WaitGroup
	done, end := context.WithCancel(ctx)
	wg.Go(func() {
		for {
			select {
			case key := <-pushes:
				w.pushedKey(done, key)
			case <-done.Done():
				return
			}
		}
	})
	return func() { end(); wg.Wait(); client.Close(); closeEngine() }, nil
}

// prefixes are PREFIX and a prefix of Redis keys, as often as there are any.
func (w *watcher) prefixes(prefix string) (args []string) {
	switch {
	case w.only == cacheKey{}, w.only.Name == "" && w.engine.Keyspace().Buckets() > l2.DefaultBuckets:
		return []string{"PREFIX", prefix + ":"}
	case w.only.Name != "":
		k := w.engine.Keyspace().Key(w.only.Namespace, w.only.Name)
		return []string{"PREFIX", k.Record, "PREFIX", k.Lease}
	}
	for _, begin := range w.engine.Keyspace().Namespaces(w.only.Namespace) {
		args = append(args, "PREFIX", begin)
	}
	return args
}

func (w *watcher) pushedKey(ctx context.Context, redisKey string) {
	m := w.record.FindStringSubmatch(redisKey)
	if m == nil {
		return // a watermark, or the owner
	}
	s := sighting{Channel: "redis", What: "record", cacheKey: &cacheKey{m[2], m[3]}, Time: time.Now()}
	if !w.wants(*s.cacheKey) {
		return
	}
	key := w.engine.Keyspace().Key(s.Namespace, s.Name)
	if m[1] == "l" {
		s.What = "lease"
		if lease, err := w.engine.Lease(ctx, key); err == nil {
			s.State = lease.Holder.String()
		}
		w.print(s)
		return
	}
	w.mu.Lock()
	if len(w.pushed) > 10_000 {
		clear(w.pushed)
	}
	w.pushed[*s.cacheKey] = s.Time
	w.mu.Unlock()
	raw, _, err := w.engine.Get(ctx, key, l2.ReadOptions{})
	switch rec, bad := l2.DecodeRecord(raw); {
	case err != nil:
		s.State = "unknown"
	case raw == nil:
		s.State = "none"
	case bad != nil:
		s.State = "corrupt"
	case rec.Absent:
		s.State, s.Version = "absence", rec.Version
	default:
		s.State, s.Version = "value", rec.Version
	}
	w.print(s)
}
