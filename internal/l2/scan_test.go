package l2_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// TestScan_FindsEachRecord: of this prefix and of the namespace, and nothing else. A key of another number of buckets
// is foreign. What is a pattern to Redis is text in a namespace.
func TestScan_FindsEachRecord(t *testing.T) {
	redis := nearcachetest.NewRedis(t)
	b := newBench(t, redis.ClientOption(), func(args ...string) string { return redis.Do(args[0], args[1:]...) })
	records := make(map[string]bool)
	for i := range 2500 {
		k := b.Keyspace().Key("n", fmt.Sprint("a:", i))
		records[k.Record] = true
		b.do("SET", k.Record, "x")
	}
	other := l2.NewKeyspaceOf("", 4096)
	k := other.Key("n", "a:1")
	b.do("SET", k.Record, "x")
	b.do("SET", l2.NewKeyspace("nd").Key("n", "a:1").Record, "x")
	b.do("SET", b.k.Lease, "x")
	b.do("SET", b.Keyspace().Key("[n]", "a:1").Record, "x")
	for namespace, want := range map[string]struct{ records, foreign int }{"": {2501, 1}, "n": {2500, 1}, "[n]": {1, 0},
		"?": {}} {
		found := make(map[string]bool)
		foreign, err := b.Scan(ctx(), namespace, func(ks []l2.Key) error {
			for _, k := range ks {
				found[k.Record] = true
			}
			return nil
		})
		if err != nil || foreign != want.foreign || len(found) != want.records {
			t.Errorf("namespace %q: got %d records, %d foreign and error %v; want %d and %d", namespace, len(found),
				foreign, err, want.records, want.foreign)
		}
		for name := range records {
			if namespace != "[n]" && namespace != "?" && !found[name] {
				t.Errorf("namespace %q: %s was not found", namespace, name)
			}
		}
	}
}

// TestGetTimed_ReadsUntracked: the record and its TTL, and Redis pushes nothing of it.
func TestGetTimed_ReadsUntracked(t *testing.T) {
	testkit.OnBothRedis(t, func(t *testing.T, r testkit.Redis) {
		b := newBench(t, r.Option, r.Do)
		for name, args := range map[string][]string{"timed": {"v", "PX", "60000"}, "endless": {"v"}} {
			b.do(append([]string{"SET", b.Keyspace().Key("n", name).Record}, args...)...)
		}
		b.do("LPUSH", b.Keyspace().Key("n", "list").Record, "x")
		var ks []l2.Key
		for _, name := range []string{"timed", "endless", "list", "none"} {
			ks = append(ks, b.Keyspace().Key("n", name))
		}
		got := b.GetTimed(ctx(), ks)
		if g := got[0]; g.Err != nil || string(g.Raw) != "v" || g.Left <= 50*time.Second || g.Left > time.Minute {
			t.Errorf("timed: got %+v", g)
		}
		if g := got[1]; g.Err != nil || string(g.Raw) != "v" || g.Left >= 0 {
			t.Errorf("endless: got %+v", g)
		}
		if g := got[2]; g.Err != l2.ErrWrongType {
			t.Errorf("list: got %+v", g)
		}
		if g := got[3]; g.Err != nil || g.Raw != nil || g.Left != 0 {
			t.Errorf("none: got %+v", g)
		}
		b.track() // of another key: its push comes after what the changes here would have pushed
		b.do("SET", ks[0].Record, "w")
		b.do("SET", b.k.Record, "w")
		testkit.Eventually(t, "the push of the tracked key", func() bool { return b.ear.heard(b.k) > 0 })
		if b.ear.heard(ks[0]) > 0 {
			t.Error("Redis tracks what was read")
		}
	})
}
