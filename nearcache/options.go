package nearcache

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Options configures one cache. The zero value of every field but Load is useful.
type Options[K comparable, V any] struct {
	// Load reads one key from the source of truth: its primary, value and version in one snapshot begun after the call.
	// It runs at most once at a time per key and process, on a context that outlives the caller's and ends after
	// LoadTimeout, and that has none of the caller's values; see ContextKeys. Its errors are returned to everyone who
	// waits and are not cached; a panic becomes an error. Required, unless Find or LoadMany is given.
	Load Loader[K, V]
	// Find is Load for a source without versions: a repository method as it is. Beside a Config.Source it is refused:
	// there a value without a version is never younger than what was seen, and would not be cached.
	Find FindFunc[K, V]
	// LoadMany reads several keys at once; a key that is missing from the map is absent. GetMany calls it once for all
	// the keys that no tier has. Defaults to calling Load for each key.
	LoadMany BatchLoader[K, V]

	// Replica is Load from a server that may lag behind the primary, value and version in one statement. The key's
	// version is read from the source first. Then Replica is asked, and if its answer is older, or it fails, Load is
	// called. So all guarantees hold that hold for Load, and the primary reads few values. The replica must follow the
	// primary that the source is on. It serves single keys; LoadMany reads the primary. It needs Load, and a Config.Source
	// that is a coherence.Versioner. Defaults to none.
	Replica Loader[K, V]

	// EncodeKey gives the key's name in Redis and on events. It must be injective, and not wait for anything. Defaults
	// to the string itself, the decimal integer, or encoding.TextMarshaler; NewCache refuses any other K.
	EncodeKey func(K) string
	// DecodeKey is the inverse of EncodeKey. Only Warm needs it. Defaults to the inverse of what EncodeKey defaults to:
	// encoding.TextUnmarshaler for a TextMarshaler.
	DecodeKey func(string) (K, error)
	// Codec encodes values for L2. It has no context, and must not wait for anything. Defaults to JSON.
	Codec Codec[V]
	// Schema numbers the shape of V. A record of a higher schema is never overwritten, and one of a lower schema is a
	// miss: so two builds can run side by side during a roll-out. Defaults to 0.
	Schema uint32
	// Shape tells apart types whose values cannot be read as each other, within one Schema: a record of another shape
	// is a miss, and is overwritten. Set a name of your own, and keep it, to say that builds with different types can
	// read each other's records: a new field then reads as zero from an old record. It says so of the Codec too: change
	// the name with the Codec, unless the new one decodes what the old one has encoded. Defaults to a fingerprint of V's
	// fields and the Codec's type, or to the Codec's own (see Shaper).
	Shape string
	// Lossy says what happens to a value that its Codec does not keep. Encodings are decoded again and compared: all of
	// them where V or the Codec can lose something, else one in 64. Defaults to LossyCheck.
	Lossy LossyPolicy
	// Clone copies a value before it is handed out. It must not wait for anything. Defaults to none: values are shared
	// and must not be modified.
	Clone func(V) V
	// CheckShared finds callers that modify values they share, for use in tests and when something is odd: each entry
	// of L1 keeps a checksum of its value's encoding, which each hit computes again. A value that has changed is
	// counted, logged with the key's name, and loaded again instead of served. It needs a Codec that encodes equal
	// values alike, and sees only what that encodes. Defaults to false.
	CheckShared bool

	// TTL is how long a value is kept in either tier. L1 keeps it for three days at most, and then asks L2 again.
	// Defaults to 5 minutes.
	TTL time.Duration
	// Jitter shortens each TTL by a random part of it, up to this fraction (0 to 0.9), so that what was filled together
	// does not expire together. Defaults to 0.
	Jitter float64
	// AbsentTTL is how long an absence is kept in either tier. Defaults to TTL or 30 seconds, whichever is shorter.
	AbsentTTL time.Duration
	// MaxStaleness bounds how old a value is that reads return: none is older, by this process's clock, than the source
	// was MaxStaleness before the read began, whatever fails (C1). A tier that cannot prove that is passed over, so a
	// bound below what the channels achieve (see Client.Status) costs hits, and never an old value. It needs a relay
	// (Config.Source or Config.Relayed), and Loaders that read the primary. Defaults to 0: no bound but the TTL.
	MaxStaleness time.Duration

	// Clearable makes every value depend on the cache's own tag, so that Clear can drop them all at once. A hit in L1
	// then looks at that too. Defaults to false.
	Clearable bool

	// L1Bytes bounds what L1 holds: its values by Size, their keys, what an entry costs beside them, and the table that
	// finds the entries that are read most, which takes a 24th at most and is there from the start. Two things are
	// extra: the counters by which L1 chooses what to keep, about a tenth, and the fence's journals, a sixteenth, at
	// most 1 GiB. Defaults to 64 MiB; negative switches L1 off.
	L1Bytes int64
	// Size is how many bytes of memory a value takes. It is called when the value is admitted to L1; one for which it
	// panics or is negative is not. It is a function of the value and nothing that a Loader could decide, because most of
	// what is in L1 was loaded, if at all, by another process. Defaults to the value's encoded size.
	Size func(V) int64
	// Audit compares a sample of reads with the source, and explains what differs. Defaults to off.
	Audit Audit[K, V]
	// Warm fetches the keys that were hot in L1 when the cache is made again. Defaults to off.
	Warm Warm

	// LoadTimeout ends a load that takes longer. Defaults to 10 seconds.
	LoadTimeout time.Duration
	// ContextKeys lists the keys of those values that pass from a reader's context to the Loader. By default none does,
	// since what a Loader returns is for every reader: with a reader's transaction or tenant it would be a row that is
	// not committed, or another tenant's view. nearcachetest.CheckLoader finds Loaders that ask for such values.
	// Tracing passes by Config.LoadTrace. Defaults to none.
	ContextKeys []any
	// MaxLoads bounds how many calls of the Loaders run at a time in this process, whatever fails: further ones wait,
	// for LoadTimeout at most. A Loader that ignores its context holds its place until it returns. A load that another
	// load waits for, because that one's Loader reads its key, needs no place. Defaults to 256; negative: no bound.
	MaxLoads int
	// ErrorTTL is how long a Loader's error is remembered: for so long reads of that key get it, or what FailSafe has,
	// without another call. Defaults to 0: not at all.
	ErrorTTL time.Duration
	// Refresh loads values again before they expire. Defaults to off.
	Refresh Refresh
	// FailSafe serves the last value when the Loader fails or is slow. Defaults to off.
	FailSafe FailSafe
	// LeaseTTL is how long a process that died while loading a key keeps others from loading it. A live one renews its
	// lease until LoadTimeout. Defaults to 2 seconds.
	LeaseTTL time.Duration
	// LeaseWait bounds how long a read waits for another process's load of its key; then it loads too, and fills
	// nothing. The wait ends as soon as that load can no longer fill. Defaults to half of LoadTimeout.
	LeaseWait time.Duration
	// WriteTTL is how long a Write keeps readers of its key at the source if its process dies meanwhile; a transaction
	// that takes longer loses that protection. Defaults to 10 seconds.
	WriteTTL time.Duration

	admitted func(*entry[K, V]) // takes what L1 would, of a cache without one
}

// Refresh loads a value again, in the background, before it expires; readers keep the value meanwhile. One process of
// all does it, by the key's lease, and keys that fall due together are loaded together if there is a LoadMany. A
// refresh is begun by a read: a value that is not read expires.
type Refresh struct {
	// After is the fraction of the TTL, between 0 and 1, after which a value is due. Defaults to 0: off.
	After float64
	// Beta is XFetch's: a value is due at a random time before its expiry, exponentially distributed with Beta times
	// the time that its load took as the mean, so that the slower a load is the earlier it begins, and seldom two at
	// once. 1 is a good value. (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention,
	// VLDB 2015; drawn once for each entry of L1, so that a hit costs a comparison.) Defaults to 0: off.
	Beta float64
}

func (r Refresh) on() bool { return r.After > 0 || r.Beta > 0 }

// FailSafe is what reads get while the Loader fails or is slow.
type FailSafe struct {
	// MaxAge is how old a value may be that is served in place of the Loader's error, labelled Result.Stale: by
	// Result.Staleness, or by Result.Age where nothing is proved. L2 keeps values so much longer than their TTL. It is
	// the default of ReadOptions.ServeStale. Defaults to 0: off.
	MaxAge time.Duration
	// SoftTimeout is how long a read waits for the Loader if L1 or L2 has such a value; then it gets that one, and the
	// load goes on in the background and fills. Defaults to 0: reads wait until their contexts end.
	SoftTimeout time.Duration
	// BeyondBound allows MaxAge in a cache with a MaxStaleness, whose bound such values break. Defaults to false:
	// NewCache refuses the two together.
	BeyondBound bool
	// Invalidated serves such a value also if this instance knows that it was removed or replaced: by a newer version,
	// an invalidation, a tag or Clear. Defaults to false: what has expired may be served, and what a write of unknown
	// outcome may have replaced (Result.Unconfirmed). What is known to be wrong may not;
	// nearcache_stale_refused_total counts it.
	Invalidated bool
}

const (
	defaultTTL         = 5 * time.Minute
	defaultAbsentTTL   = 30 * time.Second
	defaultL1Bytes     = 64 << 20
	defaultLoadTimeout = 10 * time.Second
	defaultLeaseTTL    = 2 * time.Second
	defaultWriteTTL    = 10 * time.Second
	defaultMaxLoads    = 256
)

// checkDuration fills in the default of an option, and refuses what it cannot mean. What is longer than maxTTL means
// "for ever", and must not overflow when it is added to a moment.
func checkDuration(name string, v *time.Duration, def time.Duration) error {
	switch {
	case *v < 0:
		return fmt.Errorf("%s is negative: %v", name, *v)
	case *v == 0:
		*v = def
	case *v < time.Millisecond:
		return fmt.Errorf("%s is below Redis's resolution of 1ms: %v", name, *v)
	}
	*v = min(*v, maxTTL)
	return nil
}

// validate fills in defaults and refuses what cannot work, all of it at once.
func (o *Options[K, V]) validate(c *Client, namespace string) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if namespace == TagNamespace && o.admitted == nil {
		refuse("namespace %q is that of the tags", namespace)
	}
	if err := coherence.CheckName(namespace); err != nil {
		refuse("namespace %q %w", namespace, err)
	}
	switch {
	case o.Find != nil && o.Load != nil:
		refuse("Find and Load are both set: a value has a version or it has none")
	case o.Find != nil && c.relayed:
		refuse("Find is set, and so is Config.Source or Relayed: a Loader must return the source's version with the value" +
			" (Load)")
	case o.Find != nil:
		o.Load = o.Find.loader()
	case o.Load == nil && o.LoadMany == nil:
		refuse("Load, Find and LoadMany are all nil: one of them is required")
	}
	switch {
	case o.Replica == nil:
	case o.Load == nil:
		refuse("Replica is set and Load is not: an answer that lags is read again by Load, from the primary")
	case c.versions == nil:
		refuse("Replica needs a Config.Source that tells a key's version (coherence.Versioner): without it nothing says " +
			"that a replica lags")
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{
		{"TTL", &o.TTL, defaultTTL},
		{"AbsentTTL", &o.AbsentTTL, 0},
		{"LoadTimeout", &o.LoadTimeout, defaultLoadTimeout},
		{"LeaseTTL", &o.LeaseTTL, defaultLeaseTTL},
		{"LeaseWait", &o.LeaseWait, 0},
		{"ErrorTTL", &o.ErrorTTL, 0},
		{"FailSafe.MaxAge", &o.FailSafe.MaxAge, 0},
		{"FailSafe.SoftTimeout", &o.FailSafe.SoftTimeout, 0},
		{"WriteTTL", &o.WriteTTL, defaultWriteTTL},
	} {
		if err := checkDuration(d.name, d.v, d.def); err != nil {
			errs = append(errs, err)
		}
	}
	if o.AbsentTTL == 0 {
		o.AbsentTTL = min(o.TTL, defaultAbsentTTL)
	}
	if o.LeaseWait == 0 {
		o.LeaseWait = max(o.LoadTimeout/2, time.Millisecond)
	}
	if o.MaxLoads == 0 {
		o.MaxLoads = defaultMaxLoads
	}
	for _, k := range o.ContextKeys {
		if k == nil || !reflect.ValueOf(k).Comparable() {
			refuse("ContextKeys has %T: no value can have it as its key", k)
		}
	}
	if !(o.Jitter >= 0 && o.Jitter <= 0.9) {
		refuse("Jitter is %v: a fraction from 0 to 0.9", o.Jitter)
	}
	if !(o.Refresh.After >= 0 && o.Refresh.After < 1) {
		refuse("Refresh.After is %v: a fraction from 0 to 1", o.Refresh.After)
	}
	if !(o.Refresh.Beta >= 0 && o.Refresh.Beta <= 1000) {
		refuse("Refresh.Beta is %v: 0 to 1000", o.Refresh.Beta)
	}
	if o.Refresh.After > 0 && o.Refresh.Beta > 0 {
		refuse("Refresh.After is %v and Refresh.Beta %v: one of them says when a value is due",
			o.Refresh.After, o.Refresh.Beta)
	}
	if o.Refresh.on() && o.L1Bytes < 0 {
		refuse("Refresh is on and L1Bytes %d: reads of L1 begin refreshes", o.L1Bytes)
	}
	if o.LeaseWait > o.LoadTimeout {
		refuse("LeaseWait is %v and LoadTimeout %v: the load has ended before the wait has", o.LeaseWait, o.LoadTimeout)
	}
	if o.FailSafe.SoftTimeout > 0 && o.FailSafe.MaxAge == 0 {
		refuse("FailSafe.SoftTimeout is %v and FailSafe.MaxAge 0: there is nothing to serve then", o.FailSafe.SoftTimeout)
	}
	if o.FailSafe.SoftTimeout > o.LoadTimeout {
		refuse("FailSafe.SoftTimeout is %v and LoadTimeout %v: the hard timeout comes first",
			o.FailSafe.SoftTimeout, o.LoadTimeout)
	}
	if o.FailSafe.MaxAge > 0 && o.MaxStaleness > 0 && !o.FailSafe.BeyondBound {
		refuse("FailSafe.MaxAge is %v and MaxStaleness %v: a value served for an error may break the bound, which "+
			"FailSafe.BeyondBound allows",
			o.FailSafe.MaxAge, o.MaxStaleness)
	}
	switch {
	case o.MaxStaleness < 0:
		refuse("MaxStaleness is negative: %v", o.MaxStaleness)
	case o.MaxStaleness > 0 && !c.relayed:
		refuse("MaxStaleness is %v, and neither Config.Source nor Config.Relayed is set: %w (a bound needs a relay)",
			o.MaxStaleness, ErrUnsupported)
	case o.MaxStaleness > 0 && o.MaxStaleness/2 < c.beatEvery:
		refuse("MaxStaleness is %v and Config.Heartbeat %v: a bound below two heartbeats is hardly ever proved",
			o.MaxStaleness, c.beatEvery)
	}
	o.MaxStaleness = min(o.MaxStaleness, maxTTL)
	o.L1Bytes = min(o.L1Bytes, maxBytes)
	if o.L1Bytes == 0 {
		o.L1Bytes = defaultL1Bytes
	}
	if o.L1Bytes > 0 && o.L1Bytes < 4<<10 {
		refuse("L1Bytes is %d: less than 4 KiB holds nothing (negative switches L1 off)", o.L1Bytes)
	}
	if o.Size != nil && o.L1Bytes < 0 {
		refuse("Size is set and L1Bytes %d: there is nothing to bound", o.L1Bytes)
	}
	if o.CheckShared && o.L1Bytes < 0 {
		refuse("CheckShared is true and L1Bytes %d: nothing is shared", o.L1Bytes)
	}
	switch w := &o.Warm; {
	case w.Keys < 0 || w.Rate < 0:
		refuse("Warm.Keys is %d and Warm.Rate %d: negative", w.Keys, w.Rate)
	case w.Keys > maxWarmKeys || w.Rate > maxWarmRate:
		refuse("Warm.Keys is %d and Warm.Rate %d: at most %d and %d", w.Keys, w.Rate, maxWarmKeys, maxWarmRate)
	case w.File == "" && (w.Keys > 0 || w.Rate > 0):
		refuse("Warm.Keys is %d, Warm.Rate %d and Warm.File empty: nothing is saved", w.Keys, w.Rate)
	case w.File != "" && o.L1Bytes < 0:
		refuse("Warm.File is set and L1Bytes %d: there is nothing to warm", o.L1Bytes)
	case w.File != "" && decodeKey(o.EncodeKey, o.DecodeKey) == nil:
		refuse("Warm.File is set and DecodeKey nil: the keys, of %v, could not be read back from their names",
			reflect.TypeFor[K]())
	}
	o.Audit.validate(o.MaxStaleness, refuse)
	o.checkUntracked(c, refuse)
	if o.Warm.Keys == 0 {
		o.Warm.Keys = defaultWarmKeys
	}
	if o.Warm.Rate == 0 {
		o.Warm.Rate = defaultWarmRate
	}
	if o.Lossy > LossyDecode {
		refuse("Lossy is %d: there is no such policy", o.Lossy)
	}
	if o.CheckShared && o.Clone != nil {
		refuse("CheckShared is true and Clone is set: callers get copies, and nothing is shared")
	}
	if encodeKey(o.EncodeKey) == nil {
		refuse("EncodeKey is nil and K is %v: not a string, an integer or an encoding.TextMarshaler", reflect.TypeFor[K]())
	}
	if o.Codec == nil {
		o.Codec = JSON[V]{}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nearcache: cache %q: %w", namespace, errors.Join(errs...))
	}
	return nil
}
