package fence_test

import (
	"testing"

	"github.com/nearcache/nearcache-go/internal/fence"
)

// TestUnconfirmed_TheCopyKnowsWhatCameAfter: the entry ends, and its copy ends with the next invalidation of the key.
func TestUnconfirmed_TheCopyKnowsWhatCameAfter(t *testing.T) {
	f, k := fence.New(fence.Config{Now: func() int64 { return 7 }}), keys.Key("t", "a")
	snap := f.Begin(k)
	var entry, first, second fence.Stamp
	if o, _ := f.FromSource(&snap, 1, &entry); o != fence.Serve {
		t.Fatal(o)
	}
	load := f.Begin(k)
	if !f.Unconfirmed(k, &entry, &first) {
		t.Fatal("the entry was in force, and the copy is not")
	}
	if v := entry.Check(f); v != fence.Invalidated {
		t.Errorf("the entry is %v", v)
	}
	if f.StillValid(&load) {
		t.Error("a load that began before still counts")
	}
	if v := first.Check(f); v == fence.Invalidated || v == fence.Collided {
		t.Errorf("the copy is %v", v)
	}
	if !f.Unconfirmed(k, &first, &second) {
		t.Error("a second write of unknown outcome ends the copy for good")
	}
	f.Changed(k.Hash)
	if v := second.Check(f); v != fence.Invalidated {
		t.Errorf("after a push the copy is %v", v)
	}
	if f.Unconfirmed(k, &second, &first) {
		t.Error("what was invalidated is copied")
	}
}
