package coherence

import "context"

// Abilities are the optional abilities of a Source. A nil field means that the source does not have that ability.
type Abilities struct {
	Leader     Leader
	Cursors    Cursors
	Waker      Waker
	Trimmer    Trimmer
	Bumper     Bumper
	Versioner  Versioner
	Checker    Checker
	Identifier Identifier
	Estimator  Estimator
	Accountant Accountant
}

// AbilitiesOf returns what a source can do besides Position and Changes. The relay and the near cache call it and never
// assert types themselves, so that a wrapper loses nothing:
//
//   - a wrapper that embeds a Source inherits the abilities of the source inside;
//   - a method that the outermost value itself declares, such as Wait, replaces the one inside;
//   - a wrapper that declares Abilities decides by itself what it passes on, for the abilities that are not its
//
// methods.
func AbilitiesOf(s Source) Abilities {
	if s == nil {
		return Abilities{}
	}
	a := s.Abilities()
	override(s, &a.Leader)
	override(s, &a.Cursors)
	override(s, &a.Waker)
	override(s, &a.Trimmer)
	override(s, &a.Bumper)
	override(s, &a.Versioner)
	override(s, &a.Checker)
	override(s, &a.Identifier)
	override(s, &a.Estimator)
	override(s, &a.Accountant)
	return a
}

// override sets an ability to the source itself if the source has the method.
func override[T any](s Source, ability *T) {
	if own, ok := s.(T); ok {
		*ability = own
	}
}

// Identifier names the system that a source belongs to, so that two systems are not given one prefix in Redis by
// mistake.
type Identifier interface {
	// Identity returns a name that was drawn when the source was installed. It stays the same over restarts, fail-overs
	// and restores. Empty: the source has none.
	Identity(ctx context.Context) (string, error)
}

// Accountant tells whether the last change of a key was counted. An auditor asks it about a value that the source has
// and that no version explains.
type Accountant interface {
	// LastChange looks at the key's row and at its version. It takes no lock.
	LastChange(ctx context.Context, namespace, key string) (LastChange, error)
}

// LastChange is what a source knows of the last change of a key's row.
type LastChange struct {
	Outcome ChangeOutcome
	// Key is the name under which the source counts the row. Empty: not known.
	Key string
	// Detail says in a few words what shows the Outcome.
	Detail string
}

// ChangeOutcome says whether a change was counted.
type ChangeOutcome uint8

// The outcomes.
const (
	ChangeUnknown   ChangeOutcome = iota // the source cannot tell
	ChangeCounted                        // the row is as its last counted change left it
	ChangeUncounted                      // the row was changed after that, by what counted no version
)

// Checker finds what makes a source miss changes: a trigger that is gone or disabled, a key column that was renamed.
type Checker interface {
	// Check returns what is wrong now; none means that the source sees every change that it was set up to see. An error
	// means that the check itself failed. It reads catalogs only and takes no lock that a writer would wait for.
	Check(ctx context.Context) ([]Finding, error)
}

// Finding is one fault that a Checker found.
type Finding struct {
	// Code names the kind of fault; it is stable, in lower case with underscores.
	Code string
	// Subject is what the fault is in, such as a table's name.
	Subject string
	// Namespace is the namespace whose keys may be missed. Empty: all of them.
	Namespace string
	// Text says in a sentence what is wrong and what to do.
	Text string
}

// Codes of findings.
const (
	FindingTableMissing     = "table_missing"      // the table of a trigger does not exist any more
	FindingTriggerMissing   = "trigger_missing"    // a trigger was dropped, or a partition has none
	FindingTriggerDisabled  = "trigger_disabled"   // a trigger does not fire for every session
	FindingKeyColumnChanged = "key_column_changed" // a key column was renamed, dropped, or has another type
	FindingKeyNotUnique     = "key_not_unique"     // no unique index holds the key columns together any more
	FindingKeyNullable      = "key_nullable"       // a key column accepts null; rows without a key are not counted
	FindingPartitionGone    = "partition_gone"     // a partition was dropped, and its rows were not counted
	FindingTableUnlogged    = "table_unlogged"     // a table is unlogged since, so a crash empties it, uncounted
	FindingRowsHidden       = "rows_hidden"        // the trigger's owner may not read all rows: see Text
	FindingSchemaVersion    = "schema_version"     // the tables of the source are of another version than this program
	FindingNoServerIdentity = "no_server_identity" // the server does not say which server it is
)
