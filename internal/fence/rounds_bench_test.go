package fence_test

import (
	"fmt"
	"testing"

	"github.com/nearcache/nearcache-go/internal/fence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// BenchmarkHeartbeat is the fence's part of a heartbeat of one server, for each number of buckets.
func BenchmarkHeartbeat(b *testing.B) {
	for _, n := range []int{64, 1024, 4096} {
		b.Run(fmt.Sprint(n, " buckets"), func(b *testing.B) {
			now := int64(1)
			f := fence.New(fence.Config{Complete: true, Buckets: n, Now: func() int64 { return now }})
			h := f.BeginHeartbeat()
			for bucket := range n {
				f.Watermark(&h, bucket, mark(1))
			}
			round := l2.Round{Buckets: l2.AllBuckets(n)}
			round.Incarnations = l2.DigestOf(make([]l2.Incarnation, n))
			is := make([]l2.Incarnation, n)
			for i := range is {
				is[i] = mark(1).Incarnation
			}
			round.Incarnations = l2.DigestOf(is)
			all := round.Buckets
			b.ReportAllocs()
			for b.Loop() {
				now++
				round.Number++
				round.Head, round.Upto = at(round.Number), at(round.Number)
				h := f.BeginHeartbeat()
				f.Round(&h, l2.RoundBucket, round)
				if f.Cover(&h, l2.RoundBucket, round, all) != all {
					b.Fatal("the round does not stand for the buckets")
				}
			}
		})
	}
}
