package nearcache

import (
	"context"
	"errors"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Version orders the states of one key; 0 means that the source of truth has no versions. See coherence.Version.
type Version = coherence.Version

// Entry is what a Loader returns and what Set takes: a value and what the cache should know about it.
type Entry[V any] struct {
	Value V
	// Version is the version of the state that Value was read from, in the same snapshot. 0: the source has none.
	Version Version
	// TTL is how long this value may be kept, instead of Options.TTL (or Options.AbsentTTL). 0: the option holds.
	TTL time.Duration
	// Tags name what else the value depends on: Cache.InvalidateTag drops all values of a tag at once. A value with tags that
	// this process has not met before is loaded twice, since their versions must be known before its load begins.
	Tags []string
}

// Tier says where a result came from.
type Tier uint8

// The tiers, nearest first.
const (
	TierNone   Tier = iota // nothing was served
	TierL1                 // this process
	TierL2                 // Redis
	TierSource             // the Loader
)

// String is the tier's name in metrics and logs: "none", "l1", "l2" or "source".
func (t Tier) String() string {
	switch t {
	case TierL1:
		return "l1"
	case TierL2:
		return "l2"
	case TierSource:
		return "source"
	}
	return "none"
}

// Result is a value together with how it was obtained.
type Result[V any] struct {
	Value   V
	Version Version // of the value, or of its absence; 0 if the source has no versions
	Tier    Tier
	// Age is how long ago this process obtained the value from the tier below, by its own clock; 0 for TierSource. It
	// bounds how old the value can be in L1, not how old it is at the source.
	Age time.Duration
	// Staleness is what is proved: the value is no older than the source was that long ago, by this process's clock. 0:
	// nothing is proved, as without a Source.
	Staleness time.Duration
	// Stale is true for a value known to be older than was asked for, or than one this instance has served: only with
	// ReadOptions.ServeStale, or from a Loader that went back in time.
	Stale bool
	// Err is ErrNotFound for an absent key, or why there is no value. Only ReadMany sets it; Read returns it.
	Err error
}

// ReadOptions says what one read requires beyond what Get promises. The zero value is a plain Get.
type ReadOptions struct {
	// AtLeast refuses any older version: tiers that have an older one are passed over, and if the source has one too
	// the read fails with ErrNotReady. A write's version passed here gives read-your-writes on every instance.
	// Defaults to 0: any version.
	AtLeast Version
	// MaxStaleness refuses a value that is not proved to be younger, by this process's clock, when the read began (C1). A
	// tier that cannot prove it is passed over; the source always can. It needs Config.Source: without one a positive
	// value fails with ErrUnsupported. Defaults to Options.MaxStaleness; negative: no bound.
	MaxStaleness time.Duration
	// Fresh refuses a value older than the read: it is read from the source by a load that begins after this call, or
	// kept if the source (a coherence.Versioner) then says that its version still stands.
	Fresh bool
	// ServeStale is how old a value may be that is served, labelled Stale, when the source fails or does not answer in
	// time: by Result.Staleness, or by Result.Age where nothing is proved. Such a value may be older than MaxStaleness and
	// than what this instance has served before. Defaults to Options.FailSafe.MaxAge; negative: never.
	ServeStale time.Duration
}

// The errors of reads and writes. They come wrapped; compare with errors.Is.
var (
	// ErrNotFound says that the key is absent. A Loader returns it, with the absence's version in the Entry if it has
	// one, and the absence is cached for Options.AbsentTTL.
	ErrNotFound = errors.New("nearcache: not found")
	// ErrNotModified is how a Loader says that the entry it was shown by Old is still the state of its key.
	ErrNotModified = errors.New("nearcache: not modified")
	// ErrNotReady says that no tier has the version that ReadOptions.AtLeast asks for.
	ErrNotReady = errors.New("nearcache: the version asked for is not there yet")
	// ErrClosed says that the client has been closed.
	ErrClosed = errors.New("nearcache: closed")
	// ErrPanic wraps a panic of a Loader.
	ErrPanic = errors.New("nearcache: a callback panicked")
	// ErrCodec says that a value could not be encoded, or that what was decoded again differs from it.
	ErrCodec = errors.New("nearcache: the codec does not keep the value")
	// ErrUnsupported says that something was asked for that is not built yet, or whose premise is missing.
	ErrUnsupported = errors.New("nearcache: unsupported")
	// ErrNotCommitted is what a transaction given to Write returns (wrapped) when it certainly changed nothing: a conflict,
	// a validation. Then nothing needs to be invalidated. Any other error may hide a commit.
	ErrNotCommitted = errors.New("nearcache: not committed")
	// ErrNotInvalidated says that a write went through but L2 could not be told. The invalidation is retried in the
	// background; until it succeeds other instances may serve the old value (see the package's guarantees).
	ErrNotInvalidated = errors.New("nearcache: written, but not yet invalidated")
)

type oldKey struct{}

// Old returns the entry that the cache last held of the key being loaded, if it still has it: a Loader can ask the
// source whether its version still stands and answer ErrNotModified instead of reading the value again.
func Old[V any](ctx context.Context) (Entry[V], bool) {
	e, ok := ctx.Value(oldKey{}).(*Entry[V])
	if !ok {
		return Entry[V]{}, false
	}
	return *e, true
}

// Unversioned makes a Loader from a repository method of a source without versions.
func Unversioned[K comparable, V any](find func(context.Context, K) (V, error)) func(context.Context, K) (Entry[V], error) {
	return func(ctx context.Context, k K) (Entry[V], error) {
		v, err := find(ctx, k)
		return Entry[V]{Value: v}, err
	}
}
