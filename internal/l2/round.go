package l2

import (
	"context"
	"encoding/binary"
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

// IsZero reports whether there is no round.
func (r Round) IsZero() bool { return r == Round{} }

// The layout of a round, big endian. The scripts read and write it by these offsets.
//
//	 0  "NR"
//	 2  format, 3
//	 3  the number of buckets n, as a power of two
//	 4  number
//	12  token
//	20  head: timeline and number
//	36  upto: timeline, number and part
//	60  incarnations
//	68  buckets, in n bits: the least in the last bit of each 8 bytes
//	68 + n/8  elsewhere, likewise
const roundFormat = "NR\x03"

// fields are what a round of n buckets is encoded as, after the header.
func (r *Round) fields(n int) []*uint64 {
	fields := append(make([]*uint64, 0, 8+n/32), &r.Number, &r.Token, &r.Head.Timeline, &r.Head.N, &r.Upto.Timeline,
		&r.Upto.N, &r.Upto.Part, &r.Incarnations)
	for _, set := range []*BucketSet{&r.Buckets, &r.Elsewhere} {
		for i := range set[:n/64] {
			fields = append(fields, &set[i])
		}
	}
	return fields
}

func (r *Round) encode(n int) string {
	fields := r.fields(n)
	b := append(make([]byte, 0, len(roundFormat)+1+8*len(fields)), roundFormat...)
	b = append(b, byte(bits.TrailingZeros(uint(n))))
	for _, f := range fields {
		b = binary.BigEndian.AppendUint64(b, *f)
	}
	return string(b)
}

// decodeRound is the zero Round for bytes that are none, or the round of another number of buckets than n.
func decodeRound(s string, n int) (r Round) {
	fields := r.fields(n)
	b, ok := strings.CutPrefix(s, roundFormat+string(rune(bits.TrailingZeros(uint(n)))))
	if !ok || len(b) != 8*len(fields) {
		return Round{}
	}
	for i, f := range fields {
		*f = binary.BigEndian.Uint64([]byte(b[8*i : 8*i+8]))
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
func (l *L2) BeginRound(ctx context.Context, marks bool) (r Round, ws []Watermark, err error) {
	token := rand.Uint64()
	for token == 0 {
		token = rand.Uint64()
	}
	keys := []string{l.keys.Round(RoundBucket)}
	if marks {
		ws = make([]Watermark, l.keys.Buckets())
		for b := range ws {
			keys = append(keys, l.keys.Watermark(b))
		}
	}
	arr, err := l.run(ctx, call{l.scripts.beginRound, keys,
		[]string{string(binary.BigEndian.AppendUint64(nil, token))}}).array(len(keys))
	if err != nil {
		return r, ws, err
	}
	s, _ := arr[0].ToString()
	for i := range ws {
		w, _ := arr[1+i].ToString()
		ws[i] = decodeWatermark(w)
	}
	return decodeRound(s, l.keys.Buckets()), ws, nil
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
		before = p.Seen.encode(l.keys.Buckets())
	}
	names := make([]string, 0, len(p.Needed))
	args := append(make([]string, 0, 2+2*len(p.Needed)), before, p.Next.encode(l.keys.Buckets()))
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
