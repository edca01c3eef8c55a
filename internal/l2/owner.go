package l2

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"
)

// OwnedError says that a prefix belongs to another system. Two systems on one prefix would serve each other's records,
// and their relays would take each other's watermarks for a restored database's, and reset them for ever.
type OwnedError struct {
	Prefix string
	Key    string // the Redis key that names the owner
	Owner  string // the system that it belongs to
	System string // the one that asked
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("prefix %q of this Redis belongs to the system %q, and this is %q: give each system a prefix of "+
		"its own,"+
		" or delete the key %s if the other one is gone for good", e.Prefix, e.Owner, e.System, e.Key)
}

// Claim makes the prefix belong to a system that has a name of its own, unless it belongs to another one, which is an
// OwnedError. Redis may evict the owner's name like any key: so a system repeats its claim.
func (l *L2) Claim(ctx context.Context, system string) error {
	key := l.keys.Owner()
	owner, err := l.run(ctx, call{l.scripts.claim, []string{key}, []string{system}}).string()
	if err != nil {
		return err
	}
	if owner != system {
		return &OwnedError{Prefix: l.keys.Prefix(), Key: key, Owner: owner, System: system}
	}
	return nil
}

// OwnedBy is the name of the system that the prefix belongs to, "" if Redis names none.
func (l *L2) OwnedBy(ctx context.Context) (string, error) {
	c := l.clients.Load()
	if c == nil {
		return "", ErrUnavailable
	}
	owner, err := c.commands.Do(ctx, c.commands.B().Get().Key(l.keys.Owner()).Build()).ToString()
	if rueidis.IsRedisNil(err) || wrongType(err) {
		return "", nil
	}
	return owner, l.failed(l.Node(l.keys.Home()), opOthers, err)
}
