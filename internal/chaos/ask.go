//go:build unix

package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// The rule about waiting, as history.Waiting explains it. A read asks four times at most, one question after the other:
// L2 for the record, L2 for the lease, the source, L2 again. The slack covers one answer that is lost, which costs the
// client's RedisTimeout of 500 ms, and for each question nearly as long as an answer may take without explaining
// anything. Settle covers the lease of a holder that has died.
const (
	askEvery   = 20 * time.Millisecond
	askTimeout = 2 * time.Second
	waitSlow   = 100 * time.Millisecond
	waitLost   = 500 * time.Millisecond
	waitSlack  = waitLost + 4*waitSlow
	waitSettle = leaseTTL + 500*time.Millisecond
)

// waiting is the rule for a run.
var waiting = history.Waiting{Slack: waitSlack, Deadline: readTimeout, Slow: waitSlow, Lost: waitLost,
	Settle: waitSettle}

// askAll records until ctx ends whether Redis and the source answer. It asks by the same links as the cache does: the
// source with the Loader's own query, Redis on connections of its own. Each shard of a Cluster is asked: a read waits
// for the shard of its key, and that may be slow while the others are not.
func (m *instance) askAll(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() {
		m.ask(ctx, func(ctx context.Context) error {
			_, err := m.store.load(ctx, 0)
			return ignoreAbsent(err)
		})
	})
	keys := m.To.Asked
	if len(keys) == 0 {
		keys = []string{"ask"}
	}
	for _, key := range keys {
		wg.Go(func() { m.askRedis(ctx, key) })
	}
	wg.Wait()
}

// askRedis asks the shard of a key.
func (m *instance) askRedis(ctx context.Context, key string) {
	var redis rueidis.Client
	m.ask(ctx, func(ctx context.Context) (err error) {
		if redis == nil {
			if redis, err = m.connect(); err != nil {
				redis = nil
				return err
			}
		}
		return redis.Do(ctx, redis.B().Exists().Key(key).Build()).Error()
	})
	if redis != nil {
		redis.Close()
	}
}

// connect opens a connection of the instance's own to Redis, beside those of its cache, by the same links.
func (m *instance) connect() (rueidis.Client, error) {
	opt := m.redis()
	opt.DisableCache = true
	return rueidis.NewClient(opt)
}

// ask asks again and again, and records each answer.
func (m *instance) ask(ctx context.Context, question func(context.Context) error) {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		r := history.Record{Op: history.Ask, Invoke: m.hist.Now()}
		one, cancel := context.WithTimeout(ctx, askTimeout)
		err := question(one)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if r.Return = m.hist.Now(); err != nil {
			r.Flags = history.Failed
		}
		m.hist.Append(&r)
	}
}
