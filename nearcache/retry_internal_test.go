package nearcache

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// bench is a retry whose L2 does what the test says.
type bench struct {
	*retry
	fail    bool
	during  func() // runs while L2 is asked
	renewed []int
	calls   []string // of quarantine and release
	dropped int
}

func newBench(limit int) *bench {
	b := &bench{}
	b.retry = &retry{limit: limit, wake: make(chan struct{}, 1), node: func(int) *l2.Node { return nil },
		apply: func(_ context.Context, changes []l2.Change) []error {
			errs := make([]error, len(changes))
			if f := b.during; f != nil {
				b.during = nil
				f()
			}
			for i := range errs {
				if b.fail {
					errs[i] = errors.New("down")
				}
			}
			return errs
		},
		renew: func(_ context.Context, bucket int) error {
			if f := b.during; f != nil {
				b.during = nil
				f()
			}
			if b.fail {
				return errors.New("down")
			}
			b.renewed = append(b.renewed, bucket)
			return nil
		},
		done:       func(l2.Change) {},
		quarantine: func(bucket int) { b.calls = append(b.calls, fmt.Sprint("quarantine ", bucket)) },
		release:    func(bucket int) { b.calls = append(b.calls, fmt.Sprint("release ", bucket)) },
		drop:       func(n int) { b.dropped += n },
	}
	return b
}

// ofBucket is the n-th key of a bucket.
func ofBucket(bucket, n int) l2.Change {
	for i := 0; ; i++ {
		if k := l2.NewKeyspace("").Key("n", fmt.Sprint(i)); k.Bucket == bucket {
			if n--; n < 0 {
				return l2.Change{Key: k}
			}
		}
	}
}

func TestRetry_ALostBucketMakesRoomForOthers(t *testing.T) {
	b := newBench(4)
	for i := range 4 {
		b.add(ofBucket(i%2, i/2))
	}
	b.add(ofBucket(0, 0)) // pending already
	if b.buckets() != 0 || b.len() != 4 {
		t.Fatalf("%d lost, %d pending", b.buckets(), b.len())
	}
	b.add(ofBucket(0, 5))
	if b.buckets() != 1 || b.len() != 2 || b.dropped != 3 {
		t.Errorf("%d lost, %d pending, %d forgotten; want bucket 0, with its two", b.buckets(), b.len(), b.dropped)
	}
	b.add(ofBucket(0, 6))
	b.add(ofBucket(7, 0))
	if b.buckets() != 1 || b.len() != 3 || b.dropped != 4 {
		t.Errorf("%d lost, %d pending, %d forgotten", b.buckets(), b.len(), b.dropped)
	}
}

func TestRetry_RestoresOnlyWhatNothingWasForgottenIn(t *testing.T) {
	b := newBench(0)
	b.add(ofBucket(3, 0))
	b.fail = true
	if b.restore(t.Context(), l2.AllBuckets(l2.DefaultBuckets)) || b.buckets() != 1 {
		t.Error("trusted although L2 does not answer")
	}
	b.fail = false
	b.during = func() { b.add(ofBucket(3, 1)) }
	if !b.restore(t.Context(), l2.AllBuckets(l2.DefaultBuckets)) || b.buckets() != 1 {
		t.Error("trusted although a change was forgotten meanwhile")
	}
	if !b.restore(t.Context(), l2.AllBuckets(l2.DefaultBuckets)) || b.buckets() != 0 || !b.idle() {
		t.Errorf("%d lost in the end", b.buckets())
	}
	if got := fmt.Sprint(b.calls, b.renewed); got != "[quarantine 3 release 3] [3 3]" {
		t.Error(got)
	}
}

func TestRetry_WhatIsBeingToldIsPending(t *testing.T) {
	b := newBench(2)
	b.add(ofBucket(0, 0))
	b.add(ofBucket(1, 0))
	b.fail = true
	b.during = func() {
		if b.len() != 2 {
			t.Errorf("%d pending while two are told", b.len())
		}
		b.add(ofBucket(2, 0)) // takes no place of theirs
	}
	if b.flush(t.Context(), l2.AllBuckets(l2.DefaultBuckets)) || b.len() != 2 || b.buckets() != 1 || b.dropped != 1 {
		t.Errorf("%d pending, %d lost", b.len(), b.buckets())
	}
	b.fail = false
	if !b.flush(t.Context(), l2.AllBuckets(l2.DefaultBuckets)) || b.len() != 0 {
		t.Errorf("%d pending", b.len())
	}
}
