package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// openCommands connects to Redis for commands of the operator's own.
func (t *tool) openCommands() (rueidis.Client, error) {
	opt, err := t.redisOption()
	if err != nil {
		return nil, err
	}
	opt.DisableCache, opt.DisableRetry, opt.Dialer.Timeout = true, true, 2*time.Second
	client, err := rueidis.NewClient(opt)
	if err != nil {
		return nil, fmt.Errorf("cannot reach Redis: %w", err)
	}
	return client, nil
}

// namesIn are the names of a namespace that Redis holds records of, each once. foreign counts the keys that look like
// such records and belong to another number of buckets. The user needs the right to SCAN.
func namesIn(ctx context.Context, engine *l2.L2, namespace string) (names []string, foreign int, err error) {
	seen := make(map[string]bool)
	foreign, err = engine.Scan(ctx, namespace, func(keys []l2.Key) error {
		for _, k := range keys {
			if !seen[k.Name] {
				seen[k.Name] = true
				names = append(names, k.Name)
			}
		}
		return nil
	})
	return names, foreign, err
}

// await asks until it is so, or ctx ends.
func (t *tool) await(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := ok()
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
