//go:build unix

package history_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
)

func TestRank_MakesVersionsContiguous(t *testing.T) {
	h := &history.History{
		Commits: []history.Commit{{Key: 1, Version: 40}, {Key: 1, Version: 7}, {Key: 2, Version: 9}},
		Writes:  []history.Write{{Key: 1, Version: 40}, {Key: 2}},
		Reads: []history.Record{{Key: 1, Version: 7}, {Key: 1, Version: 40, Op: history.AtLeast, Param: 40},
			{Key: 1, Version: 8}, {Key: 2, Op: history.ServeStale, Param: 9}},
	}
	h.Rank()
	want := []uint64{2, 1, 1, 2, 0, 1, 2, 2, 0, 9}
	got := []uint64{h.Commits[0].Version, h.Commits[1].Version, h.Commits[2].Version, h.Writes[0].Version,
		h.Writes[1].Version, h.Reads[0].Version, h.Reads[1].Version, h.Reads[1].Param, h.Reads[3].Version,
		h.Reads[3].Param}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ranks (-want +got):\n%s", diff)
	}
	if v := h.Reads[2].Version; v <= 40 {
		t.Errorf("a version that nobody committed has rank %d", v)
	}
}
