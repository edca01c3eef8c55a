package demo

import (
	"slices"
	"sync"
	"time"

	"github.com/nearcache/nearcache-go/internal/product"
)

// truth remembers when each version of a product was committed, so that the true age of an answer can be told. It is
// safe for concurrent use.
type truth struct {
	mu   sync.Mutex
	keys map[string][]commit // by version
}

type commit struct {
	version product.Version
	at      time.Time
}

// remembered is how many commits of a key are kept. It is more than a key has within a rival's TTL.
const remembered = 1024

func newTruth() *truth { return &truth{keys: make(map[string][]commit)} }

// committed notes a commit. Of two notes about one version the earlier one counts.
func (t *truth) committed(id string, v product.Version, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.keys[id]
	i, found := slices.BinarySearchFunc(list, v, func(c commit, v product.Version) int {
		return int(int64(c.version) - int64(v))
	})
	if found {
		return
	}
	list = slices.Insert(list, i, commit{v, at})
	if len(list) > remembered {
		list = slices.Delete(list, 0, len(list)-remembered)
	}
	t.keys[id] = list
}

// staleness is how long, before a read began, its answer had been replaced: 0 for one that was not.
func (t *truth) staleness(id string, v product.Version, began time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.keys[id]
	i, _ := slices.BinarySearchFunc(list, v+1, func(c commit, v product.Version) int {
		return int(int64(c.version) - int64(v))
	})
	if i == len(list) {
		return 0
	}
	return max(0, began.Sub(list[i].at))
}
