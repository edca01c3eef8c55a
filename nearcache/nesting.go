package nearcache

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// nesting knows which keys are being loaded, and which loads wait for which keys, over all caches of a client. A load
// waits for a key when its Loader reads it. With that, nothing waits for itself:
//
//   - A read that would close a circle fails at once with ErrLoadCycle.
//   - A load that another load waits for is not held up by the bulkhead, whose places the waiting loads may hold all,
//     nor by the lease of another process, which may be waiting for this one.
type nesting struct {
	wake func(hash uint64) // the flights of a key that wait for the lease of another process

	mu      sync.Mutex
	calls   map[string]*call   // that are running, by the records of their keys
	wanted  map[string]int     // records of keys that loads wait for
	tickets map[string]*ticket // of calls that wait for a place, by the records of their keys
}

// call is a call of a Loader that is running.
type call struct {
	nesting *nesting
	keys    []l2.Key
	waits   map[string]*keyWait // by the records of the keys that reads within it wait for
}

// keyWait is a key that reads within a call wait for.
type keyWait struct {
	key   l2.Key
	reads int
}

// ticket is a place in the bulkhead's queue.
type ticket struct {
	once     sync.Once
	promoted chan struct{} // closed when a load waits for one of its keys
}

type callKey struct{}

// begin registers a call for keys. Its Loader gets the context.
func (n *nesting) begin(ctx context.Context, keys []l2.Key) (context.Context, *call) {
	c := &call{nesting: n, keys: keys}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.calls == nil {
		n.calls = make(map[string]*call)
	}
	for _, k := range keys {
		n.calls[k.Record] = c
	}
	return context.WithValue(ctx, callKey{}, c), c
}

// end ends a call.
func (n *nesting) end(c *call) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range c.keys {
		if n.calls[k.Record] == c {
			delete(n.calls, k.Record)
		}
	}
}

// within is the call of a Loader that a context belongs to, nil if there is none of this client.
func (n *nesting) within(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok && c.nesting == n {
		return c
	}
	return nil
}

// wait announces that a read within a call waits for a key; waited must be called. The error says that the key cannot
// come before the call has returned. A nil call is none.
func (n *nesting) wait(c *call, key l2.Key) error {
	if c == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if path := n.path(key, c, map[*call]bool{}); path != nil {
		return cycleError(path)
	}
	if n.wanted == nil {
		n.wanted = make(map[string]int)
	}
	if c.waits == nil {
		c.waits = make(map[string]*keyWait)
	}
	if c.waits[key.Record] == nil {
		c.waits[key.Record] = &keyWait{key: key}
	}
	c.waits[key.Record].reads++
	n.wanted[key.Record]++
	if t := n.tickets[key.Record]; t != nil {
		t.once.Do(func() { close(t.promoted) })
	}
	n.wake(key.Hash)
	return nil
}

// waited ends a wait.
func (n *nesting) waited(c *call, key l2.Key) {
	if c == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if w := c.waits[key.Record]; w.reads == 1 {
		delete(c.waits, key.Record)
	} else {
		w.reads--
	}
	if n.wanted[key.Record]--; n.wanted[key.Record] == 0 {
		delete(n.wanted, key.Record)
	}
}

// path is how key depends on a call: the keys from it to one of the call's own. nil: it does not.
func (n *nesting) path(key l2.Key, on *call, seen map[*call]bool) []l2.Key {
	c := n.calls[key.Record]
	switch {
	case c == nil || seen[c]:
		return nil
	case c == on:
		return []l2.Key{key}
	}
	seen[c] = true
	byName := func(a, b *keyWait) int {
		return cmp.Or(cmp.Compare(a.key.Namespace, b.key.Namespace), cmp.Compare(a.key.Name, b.key.Name))
	}
	for _, w := range slices.SortedFunc(maps.Values(c.waits), byName) {
		if rest := n.path(w.key, on, seen); rest != nil {
			return append([]l2.Key{key}, rest...)
		}
	}
	return nil
}

// isWanted reports whether a load waits for a key.
func (n *nesting) isWanted(key l2.Key) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wanted[key.Record] > 0
}

// queue gives a call that waits for a place a ticket, until leave.
func (n *nesting) queue(keys []l2.Key) (t *ticket, leave func()) {
	t = &ticket{promoted: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tickets == nil {
		n.tickets = make(map[string]*ticket)
	}
	for _, k := range keys {
		n.tickets[k.Record] = t
		if n.wanted[k.Record] > 0 {
			t.once.Do(func() { close(t.promoted) })
		}
	}
	return t, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, k := range keys {
			if n.tickets[k.Record] == t {
				delete(n.tickets, k.Record)
			}
		}
	}
}

// cycleError names the circle. The path ends with a key of the call that would wait.
func cycleError(path []l2.Key) error {
	names := []string{keyName(path[len(path)-1])}
	for _, k := range path {
		names = append(names, keyName(k))
	}
	return fmt.Errorf("%w: %s", ErrLoadCycle, strings.Join(names, " needs "))
}

// keyName is a key in an error.
func keyName(k l2.Key) string {
	name := k.Name
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	return fmt.Sprintf("%s %q", k.Namespace, name)
}
