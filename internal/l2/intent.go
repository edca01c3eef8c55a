package l2

import (
	"context"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// A value whose key a writer may have changed, while nobody knows, is unconfirmed: Redis keeps it, and it counts as one
// of another incarnation. No reader is served it, whoever loads the key replaces it, and an event of a newer version
// deletes it. Fail-safe may serve it, with a label.

// Unconfirmed is the incarnation of the unconfirmed records of a bucket.
func (e Incarnation) Unconfirmed() (u Incarnation) {
	for i, b := range e {
		u[i] = ^b
	}
	return u
}

// Outcome is what a writer knows of its write when it resolves its intent.
type Outcome uint8

// The outcomes.
const (
	Committed Outcome = iota // it happened: its version is applied
	Unknown                  // it may have happened: the value is unconfirmed
	Refused                  // it certainly did not happen: nothing is to be told
	Restore                  // Refused, by the writer that has set the value aside: the value is confirmed again
)

var outcomeNames = [...]string{"committed", "unknown", "refused", "restore"}

// String is the outcome's name in the script.
func (o Outcome) String() string { return outcomeNames[o] }

// PlaceIntent leaves a writer's intent on a key before it writes: the value becomes unconfirmed, and no reader fills
// the key for ttl or until ResolveIntent with the same id. It reports whether there was a value: then this writer, and
// no other, may resolve its intent with Restore. Up to 64 writers can have an intent on a key; a further one displaces
// the first.
func (l *L2) PlaceIntent(ctx context.Context, k Key, id LeaseID, ttl time.Duration) (setAside bool, err error) {
	n, err := l.run(ctx, l.placeIntent(k, id, ttl, "set_aside")).int()
	return n == 1, err
}

// PlaceHold is an intent of somebody who does not write: it deletes the value, and sends readers to the source for ttl.
func (l *L2) PlaceHold(ctx context.Context, k Key, id LeaseID, ttl time.Duration) error {
	_, err := l.run(ctx, l.placeIntent(k, id, ttl, "delete")).int()
	return err
}

func (l *L2) placeIntent(k Key, id LeaseID, ttl time.Duration, value string) call {
	return call{l.scripts.placeIntent, l.all(k), []string{string(id[:]), millisOf(ttl), value}}
}

// ResolveIntent takes a writer's intent away and tells L2 what became of the write. The version counts if it was
// Committed. Restore confirms the value only if the intent has stood all the time, and stands alone: otherwise another
// write may have happened.
func (l *L2) ResolveIntent(ctx context.Context, k Key, id LeaseID, o Outcome, v coherence.Version) error {
	switch o {
	case Committed:
		l.recent.note(Change{Key: k, Version: v})
	case Unknown:
		l.recent.note(Change{Key: k, Unconfirmed: true})
	}
	_, err := l.run(ctx, call{l.scripts.resolveIntent, l.all(k),
		[]string{string(id[:]), versionBytes(v), o.String()}}).int()
	return err
}

// doubt applies a version, if it is not 0, and leaves unconfirmed what stands after that.
func (l *L2) doubt(k Key, v coherence.Version) call {
	return call{l.scripts.doubt, l.all(k), []string{versionBytes(v)}}
}
