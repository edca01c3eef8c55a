package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/product/health"
)

// seenFor is how long an instance's word counts that it reaches the database. It is several rounds of checks.
const seenFor = 3 * time.Second

// neighbours tells an outage of the database, which all instances share, from a fault between this instance and the
// database. Every instance that reaches it says so in Redis. One that does not, while another does, answers more errors
// than its neighbours, and a balancer should leave it out.
type neighbours struct {
	redis rueidis.ClientOption
	key   string

	id string

	mu      sync.Mutex
	client  rueidis.Client
	failing time.Time // since when this instance does not reach the database
}

// newNeighbours writes and reads one key of Redis.
func newNeighbours(redis rueidis.ClientOption, key string) *neighbours {
	redis.DisableCache, redis.DisableRetry, redis.Dialer.Timeout = true, true, wordTimeout
	return &neighbours{redis: redis, key: key, id: rand.Text()}
}

const (
	// wordTimeout bounds each exchange with Redis.
	wordTimeout = 500 * time.Millisecond
	// aloneAfter is how long this instance must have failed before another's word says that the fault is here: when the
	// database stops for all, the last word of the others is older than that by then.
	aloneAfter = 2 * seenFor
)

// compare says what this instance's failure means. failure is nil if it reaches the database.
func (n *neighbours) compare(ctx context.Context, failure error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wordTimeout)
	defer cancel()
	if failure == nil {
		n.failing = time.Time{}
		n.say(ctx)
		return nil
	}
	if n.failing.IsZero() {
		n.failing = time.Now()
	}
	if time.Since(n.failing) > aloneAfter && n.another(ctx) {
		return health.Unready(fmt.Errorf("other instances reach the database, and this one does not: %w", failure))
	}
	return failure
}

// connected makes the client when Redis can be reached for the first time.
func (n *neighbours) connected() bool {
	if n.client == nil {
		c, err := rueidis.NewClient(n.redis)
		if err != nil {
			return false
		}
		n.client = c
	}
	return true
}

func (n *neighbours) say(ctx context.Context) {
	if n.connected() {
		_ = n.client.Do(ctx, n.client.B().Set().Key(n.key).Value(n.id).PxMilliseconds(seenFor.Milliseconds()).Build()).Error()
	}
}

// another says whether another instance has reached the database lately. Without Redis nobody knows.
func (n *neighbours) another(ctx context.Context) bool {
	if !n.connected() {
		return false
	}
	id, err := n.client.Do(ctx, n.client.B().Get().Key(n.key).Build()).ToString()
	return err == nil && id != n.id
}

func (n *neighbours) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client != nil {
		n.client.Close()
	}
}
