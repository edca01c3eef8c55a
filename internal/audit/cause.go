package audit

import (
	"fmt"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// Cause is why a tier served what the source does not have. The names are stable: metrics carry them.
type Cause string

// The causes.
const (
	LoaderBehind      Cause = "loader_behind"      // the Loader reads a replica, or an old snapshot
	RecordOverwritten Cause = "record_overwritten" // somebody wrote into Redis under the record's key
	ChangeUncounted   Cause = "change_uncounted"   // a row was changed and no version was counted
	KeySpelling       Cause = "key_spelling"       // the source counts the key under another name
	ValueModified     Cause = "value_modified"     // a caller modified a value that L1 shares
	L1NotInvalidated  Cause = "l1_not_invalidated" // L1 served what a channel should have evicted
	L2NotInvalidated  Cause = "l2_not_invalidated" // Redis holds what the relay has replaced
	RelayBehind       Cause = "relay_behind"       // no relay has carried the change to Redis yet
	WriteUnseen       Cause = "write_unseen"       // without versions: a write that did not go through the cache
	Unknown           Cause = "unknown"            // the evidence does not say
)

// Causes are all of them, for metrics.
func Causes() []Cause {
	return []Cause{LoaderBehind, RecordOverwritten, ChangeUncounted, KeySpelling, ValueModified, L1NotInvalidated,
		L2NotInvalidated, RelayBehind, WriteUnseen, Unknown}
}

// Seen is a state without its value.
type Seen struct {
	Version coherence.Version
	Absent  bool
}

func (s Seen) String() string {
	if s.Absent {
		return fmt.Sprintf("an absence of version %d", s.Version)
	}
	return fmt.Sprintf("a value of version %d", s.Version)
}

// Held is what a tier holds of the key when the difference is explained.
type Held struct {
	Seen
	Agrees    bool      // its value is the source's
	Serves    bool      // it would answer a read now
	WrittenAt time.Time // by the writer's clock; zero: not known
}

// Evidence is what is known of a difference. Whatever could not be found out is zero.
type Evidence struct {
	Tier   string // that served
	Served Seen
	Source Seen // as the source counts it
	// Loaded is the version that came with the Loader's value, if that was read. It is less than Source.Version if the
	// Loader does not read what the source counts.
	Loaded *coherence.Version

	L1, L2  *Held  // nil: nothing there, or not looked at
	Damage  string // why the record in Redis is none, "" if it is one
	Vouches string // the channels that vouch for L1's entry

	Relayed   bool               // a relay carries the source's changes, or should
	Watermark coherence.Position // what L2 has applied; zero: nothing is known
	Waiting   bool               // nothing proves that L2 has applied the change

	LastChange coherence.LastChange // whether the row's last change was counted
	Spelling   string               // the name under which the source counts the key instead; "": none was found
	Faults     []string             // what the source's Checker has found in the namespace
	// Remembered says how the source's value at this very version compares with an earlier look: it is the same, or
	// it is another.
	Remembered Memory
}

// Memory is what an earlier look at the source says.
type Memory int8

// The memories.
const (
	NoMemory   Memory = iota
	SameValue         // the source had the same value at this version before
	OtherValue        // the source had another value at this version before
)

// Explain names the cause, and says in a sentence or two what shows it and what to do.
func Explain(e *Evidence) (Cause, string) {
	switch {
	case e.Damage != "":
		return RecordOverwritten, "Redis holds bytes under the record's key that no near cache wrote (" + e.Damage +
			"): find the program that writes there, and give it no right to the prefix."
	case e.Loaded != nil && *e.Loaded < e.Source.Version:
		return LoaderBehind, fmt.Sprintf("The source counts version %d, and the Loader returned version %d, read after "+
			"that: it reads a replica or an old snapshot; let it read the primary.", e.Source.Version, *e.Loaded)
	case e.Served.Version > e.Source.Version:
		return RecordOverwritten, fmt.Sprintf("The version %d was served, and the source counts only %d: somebody wrote "+
			"the record, or the source lost commits without a new timeline.", e.Served.Version, e.Source.Version)
	case e.Spelling != "":
		return KeySpelling, fmt.Sprintf("The source counts no change under this name, and some under %q: let EncodeKey and "+
			"the trigger's key columns spell keys alike.", e.Spelling)
	case e.Served.Version == e.Source.Version:
		return explainSameVersion(e)
	}
	return explainOlder(e)
}

// explainSameVersion is for two values of one version.
func explainSameVersion(e *Evidence) (Cause, string) {
	uncounted := func(why string) (Cause, string) {
		text := fmt.Sprintf("The source has another value and still counts version %d: its row was changed and not counted "+
			"(%s). Whoever made that change went around the trigger.", e.Source.Version, why)
		return ChangeUncounted, text
	}
	// A row that changed and was not counted leaves the old value in L1, while Redis may have got the new one. So what
	// shows such a change comes first. No caller can modify a value into an absence.
	modified := e.L1 != nil && !e.L1.Agrees && e.L1.Version == e.Source.Version && e.L2 != nil && e.L2.Agrees &&
		e.L1.Absent == e.L2.Absent
	switch {
	case e.LastChange.Outcome == coherence.ChangeUncounted:
		return uncounted(e.LastChange.Detail)
	case e.Remembered == OtherValue:
		return uncounted("an earlier look found another value at this version")
	case modified && (e.LastChange.Outcome == coherence.ChangeCounted || len(e.Faults) == 0):
		return ValueModified, "Redis holds the source's value and L1 holds another one of the same version: a caller " +
			"modified a value that it shares with the cache; set Clone, and find the caller with CheckShared."
	case e.LastChange.Outcome == coherence.ChangeCounted:
		return RecordOverwritten, "The row's last change is the one that the source counted, and another value of that " +
			"version was served: somebody wrote the record in Redis, or fills it from elsewhere than the Loader."
	case e.Remembered == SameValue:
		return RecordOverwritten, fmt.Sprintf("The source had this value when version %d was last looked at, and another "+
			"one was served: somebody wrote the record in Redis, or fills it from elsewhere than the Loader.",
			e.Source.Version)
	case len(e.Faults) > 0:
		return uncounted(strings.Join(e.Faults, "; "))
	case e.Source.Version == 0:
		return WriteUnseen, "The source has no versions: a write went around Cache.Write, or somebody wrote the record in " +
			"Redis."
	}
	return Unknown, fmt.Sprintf("Two values of version %d: the row was changed and not counted, or somebody wrote the "+
		"record in Redis.", e.Source.Version)
}

// explainOlder is for a value of an older version.
func explainOlder(e *Evidence) (Cause, string) {
	old := func(h *Held) bool { return h != nil && h.Version < e.Source.Version && !h.Agrees }
	at := "nothing is known of what Redis has applied"
	if !e.Watermark.IsZero() {
		at = "Redis has applied everything up to " + e.Watermark.String()
	}
	switch {
	case old(e.L2) && !e.Relayed:
		return WriteUnseen, fmt.Sprintf("Redis holds version %d of %d, and no relay tells of writes that go around "+
			"Cache.Write: route this write through it, or run a relay.", e.L2.Version, e.Source.Version)
	case old(e.L2) && (e.Waiting || e.Watermark.IsZero()):
		return RelayBehind, fmt.Sprintf("Redis holds version %d of %d, and no relay has applied the change (%s): run one, "+
			"and look at its log.", e.L2.Version, e.Source.Version, at)
	case old(e.L2):
		return L2NotInvalidated, fmt.Sprintf("Redis holds version %d of %d, although the change was applied (%s): an "+
			"old value was filled or written after it, by a Loader that reads a replica, by another program, or by a fault of "+
			"the cache.",
			e.L2.Version, e.Source.Version, at)
	case old(e.L1) && e.L1.Serves:
		below := "and nothing is in Redis"
		if e.L2 != nil {
			below = fmt.Sprintf("and Redis holds version %d", e.L2.Version)
		}
		return L1NotInvalidated, fmt.Sprintf("L1 serves version %d of %d, %s; vouched for by %s. An invalidation did not "+
			"end the entry: that is a fault of the cache.", e.L1.Version, e.Source.Version, below, or(e.Vouches, "no channel"))
	case e.Tier == "source":
		return LoaderBehind, fmt.Sprintf("The source counts version %d, and the Loader returned version %d: it reads a "+
			"replica or an old snapshot; let it read the primary.", e.Source.Version, e.Served.Version)
	}
	return Unknown, fmt.Sprintf("Version %d was served and the source counts %d; no tier holds that value any more.",
		e.Served.Version, e.Source.Version)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// Missed are those of a Checker's findings that make a source miss changes of a namespace.
func Missed(found []coherence.Finding, namespace string) (texts []string) {
	for _, f := range found {
		switch f.Code {
		case coherence.FindingNoServerIdentity, coherence.FindingSchemaVersion, coherence.FindingKeyNotUnique:
			continue
		}
		if f.Namespace == "" || f.Namespace == namespace {
			texts = append(texts, f.Text)
		}
	}
	return texts
}
