package l2

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// The log forgets what is older than RecentFor, and knows of which buckets it could not remember all.
func TestRecent_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, keys := newRecent(DefaultBuckets), NewKeyspace("")
		k := keys.Key("n", "first")
		r.note(Change{Key: k, Version: 3})
		r.note(Change{Key: k, Version: 2})
		changes, tooMany := r.of(keys.All())
		if len(changes) != 1 || changes[0].Version != 3 || !tooMany.IsZero() {
			t.Fatalf("got %+v and too many in %v, want the newer of two changes of one key", changes, tooMany)
		}
		r.note(Change{Key: k})
		r.note(Change{Key: k, Version: 4})
		if changes, _ = r.of(keys.All()); len(changes) != 1 || !changes[0].deletes() {
			t.Fatalf("got %+v, want the change that drops whatever there is", changes)
		}
		for i := range maxRecent {
			r.note(Change{Key: keys.Key("n", strconv.Itoa(i)), Version: 1})
		}
		if changes, tooMany = r.of(keys.All()); len(changes) != maxRecent || tooMany.IsZero() {
			t.Fatalf("got %d changes and too many in %v, want %d and a bucket", len(changes), tooMany, maxRecent)
		}
		time.Sleep(RecentFor)
		if changes, tooMany = r.of(keys.All()); len(changes) != maxRecent || tooMany.IsZero() || !r.some[k.Bucket].Load() {
			t.Fatalf("got %d changes and too many in %v after %v, want all", len(changes), tooMany, RecentFor)
		}
		time.Sleep(RecentFor)
		if changes, tooMany = r.of(keys.All()); len(changes) != 0 || !tooMany.IsZero() || r.some[k.Bucket].Load() {
			t.Fatalf("got %d changes and too many in %v after twice %v, want none", len(changes), tooMany, RecentFor)
		}
	})
}
