//go:build unix

package history_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

// loses has a promotion take back the last commit, which process 9 was acknowledged. The new primary counts its version
// again, and the next commit has it. Everybody has recovered at a time.
func (s *script) loses(recovered int64) *script {
	last := len(s.h.Commits) - 1
	lost := s.h.Commits[last]
	s.h.Losses = append(s.h.Losses, history.Loss{Commits: []history.Commit{lost}, Until: at(recovered)})
	s.h.Commits = s.h.Commits[:last]
	s.h.Writes[len(s.h.Writes)-1].Number += 1000
	s.h.Losses[len(s.h.Losses)-1].Commits[0].Write += 1000
	return s
}

// lostValue makes a read one of a lost state of a version.
func lostValue(r *history.Record) { r.Hash, r.Flags = 2002, 0 }

// lost is a history in which version 2 was acknowledged at 1010 and lost, and counted again by a commit of 1500.
func lost() *script {
	s := newScript().writes(9, 1000, 1010)
	s.h.Commits[1].Hash = 2002
	return s.loses(2000).writes(9, 1490, 1500)
}

func TestCheck_LostCommits(t *testing.T) {
	for _, c := range []struct {
		name string
		h    *script
		want []string
	}{
		{"a lost commit may be read until everybody has recovered", lost().reads(1, 1100, 1101, 2, lostValue), []string{""}},
		{"and the commit before it as well: nothing obliges", lost().reads(1, 1100, 1101, 2, lostValue).
			reads(1, 1450, 1451, 1, bounded), []string{"", ""}},
		{"not afterwards", lost().reads(1, 2001, 2002, 2, lostValue), []string{"C5"}},
		{"not before its write began", lost().reads(1, 900, 901, 2, lostValue), []string{"C5"}},
		{"a bound holds for what stands: the lost one counts as the version before", lost().
			reads(1, 1800, 1801, 2, lostValue, bounded), []string{"C1 C6"}},
		{"a read of it does not make the other one known", lost().reads(1, 1100, 1101, 2, lostValue).
			reads(1, 1495, 1496, 1, bounded), []string{"", ""}},
		{"versions of both primaries may go to and fro", lost().reads(1, 1510, 1511, 2).reads(1, 1520, 1521, 2, lostValue),
			[]string{"", ""}},
		{"the one that stands is promised", lost().reads(1, 1510, 1511, 2).reads(1, 1520, 1521, 1), []string{"", "C3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, broken(t, &c.h.h)); diff != "" {
				t.Errorf("broken (-want +got):\n%s", diff)
			}
		})
	}
}
