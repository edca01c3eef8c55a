package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"
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

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// scanNames are the names of a namespace that Redis holds records of. The user needs the right to SCAN.
func (t *tool) scanNames(ctx context.Context, namespace string) (names []string, err error) {
	prefix, err := t.prefixOf()
	if err != nil {
		return nil, err
	}
	client, err := t.openCommands()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	pattern := globEscaper.Replace(prefix) + ":{*}:v:" + globEscaper.Replace(namespace) + ":*"
	for _, node := range client.Nodes() {
		for cursor := uint64(0); ; {
			page, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(1000).Build()).AsScanEntry()
			if err != nil {
				return nil, fmt.Errorf("looking for the records of %s in Redis: %w", namespace, err)
			}
			for _, key := range page.Elements {
				if _, name, found := strings.Cut(key, "}:v:"+namespace+":"); found {
					names = append(names, name)
				}
			}
			if cursor = page.Cursor; cursor == 0 {
				break
			}
		}
	}
	return names, nil
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
