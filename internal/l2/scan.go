package l2

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// scanCount is how many keys one SCAN looks at. Redis serves nobody else meanwhile, for less than a millisecond.
const scanCount = 1000

var globEscaper = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`)

// Scan goes through the records of a namespace that the primaries hold, a page at a time; "" is every namespace. A
// record that is there all the time comes at least once; others may. foreign counts the Redis keys that look like
// records and are not at their bucket's place. It ends with the first error, of Redis or of page. The user needs the
// right to SCAN.
func (l *L2) Scan(ctx context.Context, namespace string, page func([]Key) error) (foreign int, err error) {
	c := l.clients.Load()
	if c == nil {
		return 0, ErrUnavailable
	}
	pattern := globEscaper.Replace(l.keys.Prefix()) + ":{*}:v:"
	if namespace != "" {
		pattern += globEscaper.Replace(namespace) + ":"
	}
	pattern += "*"
	primaries := primariesOf(ctx, c)
	for addr, node := range c.commands.Nodes() {
		if primaries != nil && !primaries[addr] {
			continue
		}
		n, err := l.scanNode(ctx, node, pattern, page)
		if foreign += n; err != nil {
			return foreign, err
		}
	}
	return foreign, nil
}

func (l *L2) scanNode(ctx context.Context, node rueidis.Client, pattern string, page func([]Key) error) (foreign int,
	err error) {
	for cursor := uint64(0); ; {
		found, err := node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(scanCount).Build()).AsScanEntry()
		if err != nil {
			return foreign, fmt.Errorf("%w: looking for records: %w", ErrUnavailable, err)
		}
		ks := make([]Key, 0, len(found.Elements))
		for _, name := range found.Elements {
			if k, ok := l.keys.KeyOf(name); ok {
				ks = append(ks, k)
			} else {
				foreign++
			}
		}
		if len(ks) > 0 {
			if err := page(ks); err != nil {
				return foreign, err
			}
		}
		if cursor = found.Cursor; cursor == 0 {
			return foreign, nil
		}
	}
}

// KeyOf is the key whose record has a name in Redis; ok is false if that is no name of a record of this keyspace.
func (s *Keyspace) KeyOf(record string) (k Key, ok bool) {
	_, rest, found := strings.Cut(strings.TrimPrefix(record, s.prefix), "}:v:")
	namespace, name, hasName := strings.Cut(rest, ":")
	if !found || !hasName {
		return Key{}, false
	}
	k = s.Key(namespace, name)
	return k, k.Record == record
}
