package nearcache

import (
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
	// Negative: the value has expired, as a token has whose expiry is past: its readers get it, and no tier keeps it.
	TTL time.Duration
	// Tags name what else the value depends on: Cache.InvalidateTag drops all values of a tag at once. A value with
	// tags that this process has not met before is loaded twice, since their versions must be known before its load
	// begins.
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
	// nothing is proved, as without a relay.
	Staleness time.Duration
	// Stale is true for a value known to be older than was asked for, or than one this instance has served: only with
	// ReadOptions.ServeStale, or from a Loader that went back in time.
	Stale bool
	// Unconfirmed is true for a Stale value that a write may have replaced: one that failed without proof that nothing
	// was committed, or that is under way. See Cache.Write.
	Unconfirmed bool
	// Err is ErrNotFound for an absent key, or why there is no value. Only ReadMany sets it; Read returns it.
	Err error
}

// ReadOptions says what one read requires beyond what Get promises. The zero value is a plain Get.
type ReadOptions struct {
	// AtLeast refuses any older version: tiers that have an older one are passed over, and if the source has one too
	// the read fails with ErrNotReady. A write's version passed here gives read-your-writes on every instance.
	// Defaults to 0: any version.
	AtLeast Version
	// MaxStaleness refuses a value that is not proved to be younger, by this process's clock, when the read began (C1).
	// A tier that cannot prove it is passed over; the source always can. It needs Config.Source or
	// Config.Relayed: without either a positive value fails with ErrUnsupported. Defaults to Options.MaxStaleness;
	// negative: no bound.
	MaxStaleness time.Duration
	// Fresh refuses a value older than the read: it is read from the source by a load that begins after this call, or
	// kept if the source (a coherence.Versioner) then says that its version still stands.
	Fresh bool
	// ServeStale is how old a value may be that is served, labelled Stale, when the source fails, or does not answer
	// before the context's deadline: by Result.Staleness, or by Result.Age where nothing is proved. Such a value may be
	// older than MaxStaleness and than what this instance has served before. Defaults to Options.FailSafe.MaxAge;
	// negative: never.
	ServeStale time.Duration
}
