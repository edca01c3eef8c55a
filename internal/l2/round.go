package l2

import (
	"context"
	"encoding/binary"
	"iter"
	"math/bits"
	"math/rand/v2"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/nearcache/nearcache-go/coherence"
)

// Round is the last round that the relay has published. The relay numbers its rounds: it begins one, reads the source,
// applies the changes, and publishes the round with what it has read.
//
// Head was read from the source after the round was begun. So a program that saw an earlier round, not begun yet, knows
// that Head covers every commit acknowledged before it looked. The zero Round stands for none.
type Round struct {
	Number uint64
	// Token was drawn when the next round was begun; 0: it has not begun. A round is published only by those that know
	// its token. After a fail-over, a round that was begun on the old server is not taken for one begun on the new.
	Token uint64
	// Head covers every commit acknowledged before the round was begun. It may be beyond Upto, while a transaction of
	// the source is open.
	Head coherence.Position
	// Upto is what the round came to: every change at or before it is applied. It may lie inside a large transaction.
	Upto coherence.Position
	// Buckets are on the server that holds the round, and Upto holds for each of them there. The own watermark of such
	// a bucket moves only when the bucket has changes.
	Buckets BucketSet
	// Incarnations is the digest of the incarnations of Buckets that Upto holds for.
	Incarnations uint64
	// Elsewhere has a bucket of each other server with rounds of its own, which are under the key of that bucket. Those
	// have no Head, and are never begun: they only say what the server has.
	Elsewhere BucketSet
}

// BucketSet is a set of buckets.
type BucketSet uint64

// AllBuckets has every bucket.
const AllBuckets = BucketSet(1<<Buckets - 1)

// Has reports whether a bucket is in the set.
func (s BucketSet) Has(bucket int) bool { return s>>bucket&1 == 1 }

// With is the set with a bucket.
func (s BucketSet) With(bucket int) BucketSet { return s | 1<<bucket }

// All goes through the buckets of the set, in order.
func (s BucketSet) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for s != 0 {
			b := bits.TrailingZeros64(uint64(s))
			if s &^= 1 << b; !yield(b) {
				return
			}
		}
	}
}

// IsZero reports whether there is no round.
func (r Round) IsZero() bool { return r == Round{} }

// The layout of a round, big endian. The scripts read and write it by these offsets.
//
//	 0  "NR"
//	 2  format, 2
//	 3  0
//	 4  number
//	12  token
//	20  head: timeline and number
//	36  upto: timeline, number and part
//	60  incarnations
//	68  buckets
//	76  elsewhere
const (
	roundSize   = 84
	roundHeader = "NR\x02\x00"
)

// fields are what a round is encoded as, after the header.
func (r *Round) fields() [10]*uint64 {
	return [...]*uint64{&r.Number, &r.Token, &r.Head.Timeline, &r.Head.N, &r.Upto.Timeline, &r.Upto.N, &r.Upto.Part,
		&r.Incarnations, (*uint64)(&r.Buckets), (*uint64)(&r.Elsewhere)}
}

func (r Round) encode() string {
	b := append(make([]byte, 0, roundSize), roundHeader...)
	for _, n := range r.fields() {
		b = binary.BigEndian.AppendUint64(b, *n)
	}
	return string(b)
}

// decodeRound is the zero Round for bytes that are none.
func decodeRound(s string) (r Round) {
	if len(s) != roundSize || !strings.HasPrefix(s, roundHeader) {
		return r
	}
	b := []byte(s[len(roundHeader):])
	for i, n := range r.fields() {
		*n = binary.BigEndian.Uint64(b[8*i:])
	}
	return r
}

// Follows reports whether a server that had the round `last` may have this one later. If not, the server has gone back
// in time.
func (r Round) Follows(last Round) bool {
	if r.Number != last.Number {
		return r.Number > last.Number
	}
	if last.Token == 0 {
		last.Token = r.Token
	}
	return r == last
}

// DigestOf is the digest of the incarnations of buckets, in the order of the buckets.
func DigestOf(incarnations []Incarnation) uint64 {
	var d xxhash.Digest
	d.Reset()
	for i := range incarnations {
		_, _ = d.Write(incarnations[i][:])
	}
	return d.Sum64()
}

// BeginRound begins the next round, unless it has begun already, and returns the last one with the token of the next.
// The zero Round says that there is none: the caller publishes the first one then, which proves nothing by itself.
//
// With marks it reads all watermarks of the same moment. That matters: a bucket's changes between its watermark and the
// round's Upto do not exist on the server that has both, and may exist on another one. It needs all buckets on one
// server.
func (l *L2) BeginRound(ctx context.Context, marks bool) (r Round, ws [Buckets]Watermark, err error) {
	token := rand.Uint64()
	for token == 0 {
		token = rand.Uint64()
	}
	keys := []string{l.keys.Round(RoundBucket)}
	if marks {
		keys = append(keys, l.keys.watermarks[:]...)
	}
	arr, err := l.run(ctx, call{l.scripts.beginRound, keys,
		[]string{string(binary.BigEndian.AppendUint64(nil, token))}}).array(len(keys))
	if err != nil {
		return r, ws, err
	}
	s, _ := arr[0].ToString()
	for i := range arr[1:] {
		w, _ := arr[1+i].ToString()
		ws[i] = decodeWatermark(w)
	}
	return decodeRound(s), ws, nil
}

// Publication is a round to publish under the key of bucket Leader: after the one that was seen, by the token that
// BeginRound returned with it. It is refused if another relay has published meanwhile, or if a bucket has not come as
// far as Needed says, of the same incarnation.
type Publication struct {
	Leader     int
	Seen, Next Round
	Needed     map[int]Watermark
}

// PublishRounds publishes rounds, in one pipeline for each node, and reports which were. The error is that of the first
// that failed; the others took effect. A bucket that is on another server than the round is an error.
func (l *L2) PublishRounds(ctx context.Context, ps []Publication) (published []bool, err error) {
	calls := make([]call, len(ps))
	for i := range ps {
		calls[i] = l.publishRound(&ps[i])
	}
	published = make([]bool, len(ps))
	for i, r := range l.runAll(ctx, calls) {
		n, e := r.int()
		published[i], err = n == 1 && e == nil, firstOf(err, e)
	}
	return published, err
}

// publishRound names the watermarks among the keys, as scripts should. In a Cluster the keys of a script must be of one
// slot. There the watermarks of the server's other slots are arguments: the server lets a script read those that it
// has.
func (l *L2) publishRound(p *Publication) call {
	before := ""
	if !p.Seen.IsZero() {
		before = p.Seen.encode()
	}
	names := make([]string, 0, len(p.Needed))
	args := append(make([]string, 0, 2+2*len(p.Needed)), before, p.Next.encode())
	for b, w := range p.Needed {
		names, args = append(names, l.keys.Watermark(b)), append(args, w.encode())
	}
	keys := []string{l.keys.Round(p.Leader)}
	if l.OneServer() {
		keys = append(keys, names...)
	} else {
		args = append(args, names...)
	}
	return call{l.scripts.publishRound, keys, args}
}
