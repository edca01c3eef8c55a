package l2_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// storeBytes fills a version with a payload of so many bytes.
func (b *bench) storeBytes(v coherence.Version, size int) {
	b.t.Helper()
	b.apply(0)
	l := b.lease()
	done, err := b.Fill(ctx(), b.k, l.ID, l.Incarnation, l2.Record{Version: v, Payload: make([]byte, size)}, time.Minute)
	if err != nil || done != l2.Filled {
		b.t.Fatalf("fill: %v, %v", done, err)
	}
}

// TestScripts_DoNotCopyLargeValues: Redis serves nobody while a script copies a value, for more than a millisecond a
// megabyte. Every script but those that move a record to another incarnation decides by the record's beginning.
func TestScripts_DoNotCopyLargeValues(t *testing.T) {
	const size = 16 << 20
	redis := servicestest.StartRedis(t)
	b := newBench(t, rueidis.ClientOption{InitAddress: []string{redis.Addr}}, redis.Do)
	w := b.begin()
	for name, run := range map[string]func() error{
		"apply an older version": func() error { return b.Apply(ctx(), b.k, 1) },
		"apply a newer version":  func() error { return b.Apply(ctx(), b.k, 8) },
		"drop":                   func() error { return b.Apply(ctx(), b.k, 0) },
		"set": func() error {
			return b.SetMany(ctx(), []l2.SetRequest{{Key: b.k, Version: 8, TTL: time.Minute,
				Record: &l2.Record{Version: 8, Payload: []byte("v")}}})[0]
		},
		"acquire": func() error {
			l, err := b.Acquire(ctx(), b.k, l2.NewLeaseID(), time.Minute, l2.AcquireOptions{})
			if err == nil && l.Status != l2.Present {
				err = fmt.Errorf("the status is %v", l.Status)
			}
			return err
		},
		"batch": func() error {
			_, done, err := b.ApplyBatch(ctx(), b.k.Bucket, []l2.Change{{Key: b.k, Version: 8}}, w, at(1))
			if err == nil && !done {
				err = errors.New("it is refused")
			}
			return err
		},
	} {
		b.storeBytes(5, size)
		redis.Do("SCRIPT", "FLUSH") // a new interpreter, without what the scripts before have left
		if err := run(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := b.luaBytes(); n > 1<<20 {
			t.Errorf("%s: the interpreter has %d bytes, so it has copied the value", name, n)
		}
	}
}

// luaBytes is how much memory Redis's interpreter has.
func (b *bench) luaBytes() (n int) {
	b.t.Helper()
	_, after, found := strings.Cut(b.do("INFO", "memory"), "used_memory_lua:")
	if _, err := fmt.Sscanf(after, "%d", &n); !found || err != nil {
		b.t.Fatalf("INFO does not say how much memory the scripts have: %v", err)
	}
	return n
}

// TestApply_KnowsALongRecordByItsBeginning: a record that is longer than what the scripts read of it stands if it is
// not older, and one that is cut, or has more bytes than its header says, does not.
func TestApply_KnowsALongRecordByItsBeginning(t *testing.T) {
	onBoth(t, func(b *bench) {
		for size := 180; size < 192; size++ { // with its header a record of 250 to 262 bytes
			b.storeBytes(5, size)
			b.apply(5)
			b.want(fmt.Sprintf("%d bytes of version 5", size), "v5")
			b.do("APPEND", b.k.Record, "x")
			b.apply(5)
			b.want(fmt.Sprintf("%d bytes and another one", size), "absent")
			b.storeBytes(5, size)
			b.do("SET", b.k.Record, b.do("GETRANGE", b.k.Record, "0", "-2"))
			b.apply(5)
			b.want(fmt.Sprintf("%d bytes but the last one", size), "absent")
		}
	})
}
