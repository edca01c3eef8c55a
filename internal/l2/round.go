package l2

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/rueidis"

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
	// Whole says that all buckets are on the server that holds the round, and that Upto holds for each of them there.
	// Then a bucket's own watermark moves only when the bucket has changes.
	Whole bool
	// Incarnations is the digest of the incarnations that Upto holds for, one for each bucket.
	Incarnations uint64
}

// IsZero reports whether there is no round.
func (r Round) IsZero() bool { return r == Round{} }

// The layout of a round, big endian. The scripts read and write it by these offsets.
//
//	 0  "NR"
//	 2  format, 1
//	 3  flags: 1 Whole
//	 4  number
//	12  token
//	20  head: timeline and number
//	36  upto: timeline, number and part
//	60  incarnations
const (
	roundSize   = 68
	roundHeader = "NR\x01"
)

func (r Round) encode() string {
	b := append(make([]byte, 0, roundSize), roundHeader...)
	if r.Whole {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	for _, n := range []uint64{r.Number, r.Token, r.Head.Timeline, r.Head.N, r.Upto.Timeline, r.Upto.N,
		r.Upto.Part, r.Incarnations} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return string(b)
}

// decodeRound is the zero Round for bytes that are none.
func decodeRound(s string) (r Round) {
	if len(s) != roundSize || !strings.HasPrefix(s, roundHeader) {
		return r
	}
	r.Whole = s[3]&1 != 0
	b := []byte(s[4:])
	for i, n := range []*uint64{&r.Number, &r.Token, &r.Head.Timeline, &r.Head.N, &r.Upto.Timeline, &r.Upto.N,
		&r.Upto.Part, &r.Incarnations} {
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

// DigestOf is the digest of the incarnations of all buckets.
func DigestOf(incarnations []Incarnation) uint64 {
	var d xxhash.Digest
	d.Reset()
	for i := range incarnations {
		_, _ = d.Write(incarnations[i][:])
	}
	return d.Sum64()
}

// Round reads the relay's last round on the tracking connection, as readWatermark does a watermark. A replica refuses
// to answer.
func (l *L2) Round(ctx context.Context) (Round, error) {
	c := l.clients.Load()
	if c == nil {
		return Round{}, ErrUnavailable
	}
	s, err := c.tracking.Do(ctx, c.tracking.B().Getex().Key(l.keys.Round()).Build()).ToString()
	if wrongType(err) {
		return Round{}, nil
	}
	l.reads.note(err)
	if err := l.failed(err); err != nil {
		return Round{}, err
	}
	return decodeRound(s), nil
}

// Reached is Watermarks, with what the last round says of buckets whose own watermarks were left where they stood. A
// bucket without a watermark has none here either.
func (l *L2) Reached(ctx context.Context) (ws [Buckets]Watermark, err error) {
	c := l.clients.Load()
	if c == nil {
		return ws, ErrUnavailable
	}
	s, err := c.commands.Do(ctx, c.commands.B().Get().Key(l.keys.Round()).Build()).ToString()
	if err := l.failed(err); err != nil && !wrongType(err) {
		return ws, err
	}
	if ws, err = l.Watermarks(ctx); err != nil { // after the round: what it covers stays so
		return ws, err
	}
	var incarnations [Buckets]Incarnation
	for b := range ws {
		incarnations[b] = ws[b].Incarnation
	}
	r := decodeRound(s)
	for b := range ws {
		if r.Whole && r.Incarnations == DigestOf(incarnations[:]) && r.Upto.Covers(ws[b].Position) {
			ws[b].Position = r.Upto
		}
	}
	return ws, nil
}

// OneServer reports whether Redis keeps all buckets on one server, as far as the client knows: it is no Cluster.
func (l *L2) OneServer() bool {
	c := l.clients.Load()
	return c != nil && c.commands.Mode() != rueidis.ClientModeCluster
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
	keys := []string{l.keys.Round()}
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

// PublishRound publishes a round after the one that was seen, by the token that BeginRound returned with it. It refuses
// if another relay has published meanwhile, or if a bucket has not come as far as needed says, of the same incarnation.
func (l *L2) PublishRound(ctx context.Context, seen, next Round, needed map[int]Watermark) (published bool, err error) {
	before := ""
	if !seen.IsZero() {
		before = seen.encode()
	}
	keys := append(make([]string, 0, 1+len(needed)), l.keys.Round())
	args := append(make([]string, 0, 2+len(needed)), before, next.encode())
	for b, w := range needed {
		keys, args = append(keys, l.keys.Watermark(b)), append(args, w.encode())
	}
	n, err := l.run(ctx, call{l.scripts.publishRound, keys, args}).int()
	return n == 1, err
}
