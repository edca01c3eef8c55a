package audit_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/audit"
)

func TestExplain_NamesTheCause(t *testing.T) {
	seen := func(v coherence.Version) audit.Seen { return audit.Seen{Version: v} }
	held := func(v coherence.Version, agrees, serves bool) *audit.Held {
		return &audit.Held{Seen: seen(v), Agrees: agrees, Serves: serves}
	}
	three := coherence.Version(3)
	at := coherence.Position{Timeline: 1, N: 7}
	for _, c := range []struct {
		name  string
		e     audit.Evidence
		want  audit.Cause
		shows string
	}{
		{"foreign bytes", audit.Evidence{Damage: "foreign bytes"}, audit.RecordOverwritten, "foreign bytes"},
		{"the Loader has less than the source", audit.Evidence{Served: seen(3), Source: seen(5), Loaded: &three},
			audit.LoaderBehind, "version 3"},
		{"a version from the future", audit.Evidence{Served: seen(9), Source: seen(5)}, audit.RecordOverwritten, "only 5"},
		{"another name", audit.Evidence{Served: seen(1), Source: seen(1), Spelling: "42"}, audit.KeySpelling, `"42"`},
		{"L1 alone has another value", audit.Evidence{Served: seen(5), Source: seen(5), L1: held(5, false, true),
			L2: held(5, true, true)}, audit.ValueModified, "CheckShared"},
		{"L1 alone has another value, and the row was counted", audit.Evidence{Served: seen(5), Source: seen(5),
			L1: held(5, false, true), L2: held(5, true, true), Faults: []string{"x"},
			LastChange: coherence.LastChange{Outcome: coherence.ChangeCounted}}, audit.ValueModified, "CheckShared"},
		{"L1 alone has another value, and the row was not counted", audit.Evidence{Served: seen(5), Source: seen(5),
			L1: held(5, false, true), L2: held(5, true, true),
			LastChange: coherence.LastChange{Outcome: coherence.ChangeUncounted, Detail: "transaction 12"}},
			audit.ChangeUncounted, "transaction 12"},
		{"L1 alone has another value, and a trigger is disabled", audit.Evidence{Served: seen(5), Source: seen(5),
			L1: held(5, false, true), L2: held(5, true, true), Faults: []string{"trigger x is disabled"}},
			audit.ChangeUncounted, "trigger x is disabled"},
		{"L1 has a value and the source has none", audit.Evidence{Served: seen(5), Source: seen(5),
			L1: held(5, false, true), L2: &audit.Held{Seen: audit.Seen{Version: 5, Absent: true}, Agrees: true}},
			audit.Unknown, "was changed and not counted"},
		{"the row says that it was not counted", audit.Evidence{Served: seen(5), Source: seen(5), L2: held(5, false, true),
			LastChange: coherence.LastChange{Outcome: coherence.ChangeUncounted, Detail: "transaction 12"}},
			audit.ChangeUncounted, "transaction 12"},
		{"the row says that it was counted", audit.Evidence{Served: seen(5), Source: seen(5), L2: held(5, false, true),
			LastChange: coherence.LastChange{Outcome: coherence.ChangeCounted}}, audit.RecordOverwritten, "wrote the record"},
		{"the source had another value at this version", audit.Evidence{Served: seen(5), Source: seen(5),
			Remembered: audit.OtherValue}, audit.ChangeUncounted, "earlier look"},
		{"the source had this value at this version", audit.Evidence{Served: seen(5), Source: seen(5),
			Remembered: audit.SameValue}, audit.RecordOverwritten, "last looked at"},
		{"a trigger is disabled", audit.Evidence{Served: seen(5), Source: seen(5), Faults: []string{"trigger x is disabled"}},
			audit.ChangeUncounted, "trigger x is disabled"},
		{"no versions", audit.Evidence{}, audit.WriteUnseen, "Cache.Write"},
		{"nothing is known", audit.Evidence{Served: seen(5), Source: seen(5)}, audit.Unknown, "or somebody"},
		{"the relay is behind", audit.Evidence{Served: seen(4), Source: seen(5), L2: held(4, false, true), Relayed: true,
			Watermark: at, Waiting: true}, audit.RelayBehind, at.String()},
		{"no relay ever", audit.Evidence{Served: seen(4), Source: seen(5), L2: held(4, false, true), Relayed: true},
			audit.RelayBehind, "run one"},
		{"the relay has applied it", audit.Evidence{Served: seen(4), Source: seen(5), L2: held(4, false, true),
			Relayed: true, Watermark: at}, audit.L2NotInvalidated, at.String()},
		{"no source", audit.Evidence{Served: seen(4), Source: seen(5), L2: held(4, false, true)},
			audit.WriteUnseen, "run a relay"},
		{"L1 alone is old", audit.Evidence{Tier: "l1", Served: seen(4), Source: seen(5), L1: held(4, false, true),
			L2: held(5, true, true), Relayed: true, Vouches: "tracking, session 3"}, audit.L1NotInvalidated, "session 3"},
		{"L1 is old and L2 empty", audit.Evidence{Tier: "l1", Served: seen(4), Source: seen(5),
			L1: held(4, false, true), Relayed: true}, audit.L1NotInvalidated, "nothing is in Redis"},
		{"the Loader alone is old", audit.Evidence{Tier: "source", Served: seen(4), Source: seen(5)},
			audit.LoaderBehind, "primary"},
		{"it is gone", audit.Evidence{Tier: "l2", Served: seen(4), Source: seen(5), Relayed: true}, audit.Unknown, "no tier"},
	} {
		got, text := audit.Explain(&c.e)
		if got != c.want || !strings.Contains(text, c.shows) {
			t.Errorf("%s: got %s, %q; want %s with %q", c.name, got, text, c.want, c.shows)
		}
		if !slices.Contains(audit.Causes(), got) {
			t.Errorf("%s is no cause", got)
		}
	}
}

func TestMissed_LeavesOutWhatLosesNoChange(t *testing.T) {
	found := []coherence.Finding{
		{Code: coherence.FindingTriggerDisabled, Namespace: "product", Text: "disabled"},
		{Code: coherence.FindingTriggerMissing, Namespace: "order", Text: "another namespace"},
		{Code: coherence.FindingNoServerIdentity, Text: "no identity"},
		{Code: coherence.FindingTableMissing, Text: "no table"},
	}
	if got := audit.Missed(found, "product"); !slices.Equal(got, []string{"disabled", "no table"}) {
		t.Errorf("got %q", got)
	}
}

// counted is a source's versions of one namespace.
type counted map[string]coherence.Version

func (c counted) Version(_ context.Context, _, key string) (coherence.Version, error) {
	if v, ok := c[key]; ok {
		return v, nil
	}
	return 1, nil // the floor
}

func TestCountedAs_FindsAnotherSpelling(t *testing.T) {
	const id = "6f1c2d7e-0000-4000-8000-0123456789ab"
	for _, c := range []struct{ counted, name, want string }{
		{"42", "42", ""}, {"42", "42.0", "42"}, {"42", "0042", "42"}, {"42", " 42 ", "42"}, {"42", "+42", "42"},
		{"abc", "ABC", "abc"}, {"ABC", "abc", "ABC"}, {"a b", "a%20b", "a b"}, {"a%20b", "a b", "a%20b"},
		{id, strings.ToUpper(id), id}, {id, strings.ReplaceAll(id, "-", ""), id}, {id, "{" + id + "}", id},
		{strings.ReplaceAll(id, "-", ""), id, strings.ReplaceAll(id, "-", "")},
		{"abc", `"abc"`, "abc"}, {"42", "43", ""},
	} {
		got, err := audit.CountedAs(t.Context(), counted{c.counted: 9}, "n", c.name)
		if err != nil || got != c.want {
			t.Errorf("%q is counted, and asked for is %q: got %q, %v; want %q", c.counted, c.name, got, err, c.want)
		}
	}
	// A key of its own is never taken for another one.
	if got, _ := audit.CountedAs(t.Context(), counted{"abc": 9, "ABC": 2}, "n", "ABC"); got != "" {
		t.Errorf("got %q for a key that is counted itself", got)
	}
}
