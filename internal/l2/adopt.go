package l2

import (
	"context"
	"crypto/rand"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/internal/ablate"
)

// Without a relay nobody tells a promoted replica which changes it lacks. The old primary has acknowledged an
// invalidation, and was lost before its replica had it; the replica then serves the old record until its TTL:
//
//	writer: commits 2, and deletes the record of 1 on server A      A dies; its replica B lacks the delete
//	B is promoted: the record of 1 is there                         readers: believe it
//
// So a bucket's incarnation is one of its server's history. Its first half comes from the server's replication id (of
// INFO), which changes whenever a replica is promoted and whenever a server starts. The script adopt compares the two,
// and begins a new incarnation if they differ. Whoever reads a bucket's watermark in a new session adopts the bucket
// first, in one pipeline with its read. So nobody believes a record of before, whether or not the promotion was
// noticed, and all agree: the watermark is in Redis. A server that restarts from an old file has another history, and
// so has one to which a Cluster has moved the bucket's slot.
//
// What is told to the old primary after the new one was adopted is the matter of recent.go.

// historySize is how much of an incarnation names the server's history.
const historySize = 4

// sameHistory reports whether two incarnations were drawn in one history.
func (e Incarnation) sameHistory(o Incarnation) bool {
	return [historySize]byte(e[:historySize]) == [historySize]byte(o[:historySize])
}

// scriptForm is how a script is called.
type scriptForm uint8

const (
	bySHA    scriptForm = iota // by its hash; a server that took over does not know it
	bySource                   // whole
)

// adoption is the script adopt, for the tracking connection.
func (l *L2) adoption(c *clients, bucket int, form scriptForm) rueidis.Completed {
	if ablate.Out(ablate.ServerHistory) {
		return l.readWatermark(c, bucket)
	}
	var random [len(Incarnation{}) - historySize]byte
	_, _ = rand.Read(random[:])
	call := call{l.scripts.adopt, []string{l.keys.Watermark(bucket)}, []string{string(random[:])}}
	if form == bySource {
		return call.eval(c.tracking)
	}
	return call.evalsha(c.tracking)
}

// adopted is the watermark in the answer of readWatermark or, without a relay, of adoption.
func (l *L2) adopted(res rueidis.RedisResult, bucket int) (Watermark, error) {
	if l.recent == nil {
		return l.watermark(bucket, res)
	}
	w, err := l.watermarkBy(l.scripts.adopt.op, bucket, res)
	if err == nil {
		l.recent.saw(bucket, w.Incarnation)
	}
	return w, err
}

// adopt adopts buckets.
func (l *L2) adopt(ctx context.Context, c *clients, of BucketSet) (replies map[int]HeartbeatReply, err error) {
	replies = make(map[int]HeartbeatReply)
	for form, left := bySHA, of; !left.IsZero(); form++ {
		var cmds []rueidis.Completed
		var buckets []int
		for b := range left.All() {
			cmds, buckets = append(cmds, l.adoption(c, b, form)), append(buckets, b)
		}
		left = BucketSet{}
		for i, res := range c.tracking.DoMulti(ctx, cmds...) {
			b := buckets[i]
			if form == bySHA && unknown(res.Error()) {
				left.Add(b)
				continue
			}
			w, e := l.adopted(res, b)
			replies[b] = HeartbeatReply{w, e == nil}
			err = firstOf(err, e)
		}
	}
	return replies, err
}

// adoptRead adopts what a heartbeat has read. Of the buckets that are read on one connection only the first is adopted
// in any case: it shows the server's history. The others are if theirs is another one.
//
// The connection that a bucket is read on may change meanwhile. Then its session ends, and the fence ignores the reply.
func (l *L2) adoptRead(ctx context.Context, c *clients, replies map[int]HeartbeatReply) error {
	var leaders, left BucketSet
	for b := range replies {
		if replies[b].OK {
			left.Add(b)
		}
	}
	of := make(map[int]BucketSet) // by leader
	for !left.IsZero() {
		b := left.First()
		on := l.Together(b, &left)
		on.Add(b)
		leaders.Add(b)
		of[b], left = on, left.Minus(on)
	}
	first, err := l.adopt(ctx, c, leaders)
	var others BucketSet
	for leader := range leaders.All() {
		with := of[leader]
		for b := range with.All() {
			switch {
			case !first[leader].OK:
				replies[b] = HeartbeatReply{}
			case b == leader:
				replies[b] = first[b]
			case !replies[b].Watermark.Incarnation.sameHistory(first[leader].Watermark.Incarnation):
				others.Add(b)
			default:
				l.recent.saw(b, replies[b].Watermark.Incarnation)
			}
		}
	}
	rest, e := l.adopt(ctx, c, others)
	for b := range others.All() {
		replies[b] = rest[b]
	}
	return firstOf(err, e)
}
