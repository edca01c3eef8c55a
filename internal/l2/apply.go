package l2

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/ablate"
)

// versionBytes is a version as the scripts take it.
func versionBytes(v coherence.Version) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(v)))
}

// encode is "" for a record that is too large, or cannot be kept: then with an error.
func encode(k Key, rec Record, ttl time.Duration) (string, error) {
	rec.KeyHash = k.Hash
	if ttl <= 0 {
		return "", fmt.Errorf("%w: a TTL of %v", ErrInvalid, ttl)
	}
	b, err := AppendRecord(make([]byte, 0, HeaderSize+2+len(rec.Payload)), rec)
	if errors.Is(err, ErrTooLarge) {
		return "", nil
	}
	return unsafe.String(unsafe.SliceData(b), len(b)), err // nobody else has b
}

// Apply makes a key notice that it has a state of version v: an older value goes, and any reader's lease; an absent key
// stays absent. Version 0 drops whatever there is. It may come late, twice, and in any order.
func (l *L2) Apply(ctx context.Context, k Key, v coherence.Version) error {
	l.recent.note(Change{Key: k, Version: v})
	_, err := l.run(ctx, l.apply(k, v)).int()
	return err
}

func (l *L2) apply(k Key, v coherence.Version) call {
	return call{l.scripts.apply, l.all(k), []string{versionBytes(v)}}
}

// change is Apply, or what leaves the value unconfirmed.
func (l *L2) change(ch Change) call {
	if ch.Unconfirmed {
		return l.doubt(ch.Key, ch.Version)
	}
	return l.apply(ch.Key, ch.Version)
}

// ApplyMany is Apply for several changes, pipelined. The value of a change that is Unconfirmed becomes so. The error is
// that of the first that failed; the others took effect.
func (l *L2) ApplyMany(ctx context.Context, changes []Change) error {
	return firstOf(l.ApplyEach(ctx, changes)...)
}

// ApplyEach is ApplyMany that returns the error of each change.
func (l *L2) ApplyEach(ctx context.Context, changes []Change) []error {
	for _, ch := range changes {
		l.recent.note(ch)
	}
	return l.tell(ctx, changes)
}

// tell is ApplyEach of changes that are remembered already.
func (l *L2) tell(ctx context.Context, changes []Change) []error {
	calls := make([]call, len(changes))
	for i, ch := range changes {
		calls[i] = l.change(ch)
	}
	errs := make([]error, len(changes))
	for i, r := range l.runAll(ctx, calls) {
		_, errs[i] = r.int()
	}
	return errs
}

// set replaces an older value of the key, or acts as Apply of the record's version if there is none. A record that is
// too large is applied.
func (l *L2) set(k Key, rec Record, ttl time.Duration) (call, error) {
	b, err := encode(k, rec, ttl)
	if b == "" {
		return l.apply(k, rec.Version), err
	}
	return call{l.scripts.set, l.all(k), []string{versionBytes(rec.Version), b, millisOf(ttl)}}, nil
}

// SetRequest is a change of a key that this process has written: with the new record, or with its version alone.
type SetRequest struct {
	Key     Key
	Version coherence.Version // to apply where there is no Record
	Record  *Record           // nil: none
	TTL     time.Duration     // of the Record
}

// SetMany replaces older values of keys, in one pipeline for each node. Where there is no older value, or no Record, it
// acts as Apply of the version. It returns the error of each key, in order.
func (l *L2) SetMany(ctx context.Context, settings []SetRequest) []error {
	errs := make([]error, len(settings))
	var calls []call
	var at []int
	for i, s := range settings {
		l.recent.note(Change{Key: s.Key, Version: s.Version})
		c := l.apply(s.Key, s.Version)
		if s.Record != nil {
			if c, errs[i] = l.set(s.Key, *s.Record, s.TTL); errs[i] != nil {
				continue
			}
		}
		calls, at = append(calls, c), append(at, i)
	}
	for i, r := range l.runAll(ctx, calls) {
		_, errs[at[i]] = r.int()
	}
	return errs
}

// Watermarks reads the watermarks of all buckets.
func (l *L2) Watermarks(ctx context.Context) (ws []Watermark, err error) {
	ws, _, err = l.WatermarksOf(ctx, l.keys.All())
	return ws, err
}

// WatermarksOf reads the watermarks of some buckets, in one pipeline for each node. ws is by bucket. It returns those
// that could not be read, with an error of one.
func (l *L2) WatermarksOf(ctx context.Context, of BucketSet) (ws []Watermark, failed BucketSet, err error) {
	ws = make([]Watermark, l.keys.Buckets())
	c := l.clients.Load()
	if c == nil {
		return ws, of, ErrUnavailable
	}
	n := of.Len()
	cmds, at := make([]rueidis.Completed, 0, n), make([]int, 0, n)
	for b := range of.All() {
		cmds, at = append(cmds, c.commands.B().Get().Key(l.keys.Watermark(b)).Build()), append(at, b)
	}
	for i, res := range c.commands.DoMulti(ctx, cmds...) {
		var e error
		if ws[at[i]], e = l.watermark(at[i], res); e != nil {
			failed.Add(at[i])
			err = firstOf(err, e)
		}
	}
	return ws, failed, err
}

// ApplyBatch applies changes to a bucket and moves its watermark from `from`, or a later one, to `to`. If the watermark
// does not cover from, or is of another incarnation, nothing is applied, and now is the watermark that Redis has.
//
// A batch is one script, during which Redis serves no other client, so the caller bounds its length: at some 2 µs a
// change, 500 changes are a millisecond. A transaction that is longer comes in several batches. Each of them moves the
// watermark, to a part of the position if the transaction goes on. If only the last batch moved it, the others could be
// lost without a trace:
//
//	batch 1: deletes the first keys' values           the watermark stays at 5
//	Redis fails over to a replica that has not got it, and is at 5 too
//	batch 2: finds the watermark at 5, deletes the others, and moves it to 6
//
// With the part, batch 2 expects 5+1 and finds 5; it is refused, and the caller goes on from 5. Readers take 5+1 for 5:
// that some of the next changes are applied early is what a direct invalidation does, too.
func (l *L2) ApplyBatch(
	ctx context.Context,
	bucket int,
	changes []Change,
	from Watermark,
	to coherence.Position,
) (now Watermark, applied bool, err error) {
	if to.Timeline != from.Position.Timeline {
		return Watermark{}, false, fmt.Errorf("tier: a batch from %v to %v, another incarnation", from.Position, to)
	}
	keys := make([]string, 1, 1+2*len(changes))
	keys[0] = l.keys.Watermark(bucket)
	versions := make([]byte, 0, 8*len(changes))
	for _, ch := range changes {
		if ch.Key.Bucket != bucket {
			return Watermark{}, false, fmt.Errorf(
				"tier: a key of bucket %d in a batch for bucket %d",
				ch.Key.Bucket,
				bucket,
			)
		}
		keys = append(keys, ch.Key.Record, ch.Key.Lease)
		versions = binary.BigEndian.AppendUint64(versions, uint64(ch.Version))
	}
	position := Watermark{Position: to}.encode()[8:]
	arr, err := l.run(ctx, call{l.scripts.batch, keys, []string{from.encode(), position, string(versions)}}).array(2)
	if err != nil {
		return Watermark{}, false, err
	}
	done, _ := arr[0].AsInt64()
	found, _ := arr[1].ToString()
	return decodeWatermark(found), done == 1, nil
}

// ResetWatermark begins a new random incarnation of a bucket at a position, if the watermark still is seen. Every
// record of the bucket becomes a miss. now is the watermark that Redis has afterwards.
func (l *L2) ResetWatermark(
	ctx context.Context,
	bucket int,
	seen Watermark,
	to coherence.Position,
) (now Watermark, err error) {
	fresh := Watermark{Position: to}
	for fresh.Incarnation == (Incarnation{}) {
		_, _ = rand.Read(fresh.Incarnation[:])
	}
	if l.recent != nil && !seen.IsZero() {
		copy(fresh.Incarnation[:historySize], seen.Incarnation[:])
	}
	if ablate.Out(ablate.NewIncarnation) {
		fresh.Incarnation = Incarnation{1}
	}
	before := ""
	if !seen.IsZero() {
		before = seen.encode()
	}
	s, err := l.run(ctx, call{l.scripts.reset, []string{l.keys.Watermark(bucket)}, []string{before, fresh.encode()}}).
		string()
	return decodeWatermark(s), err
}

// reply is a script's answer, or why there is none.
type reply struct {
	l    *L2
	call call
	res  rueidis.RedisResult
	err  error
}

func (l *L2) run(ctx context.Context, c call) reply {
	cl := l.clients.Load()
	if cl == nil {
		return reply{err: ErrUnavailable}
	}
	return reply{l, c, run(ctx, cl.commands, c), nil}
}

// runAll runs scripts in one pipeline for each node.
func (l *L2) runAll(ctx context.Context, calls []call) []reply {
	out := make([]reply, len(calls))
	cl := l.clients.Load()
	if cl == nil {
		for i := range out {
			out[i].err = ErrUnavailable
		}
		return out
	}
	if len(calls) == 0 {
		return nil
	}
	for i, res := range runAll(ctx, cl.commands, calls) {
		out[i] = reply{l, calls[i], res, nil}
	}
	return out
}

func (r reply) failed(err error) error {
	return r.l.failed(r.l.Node(r.l.keys.bucketOf(r.call.keys[0])), r.call.s.op, err)
}

func (r reply) int() (int64, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.res.AsInt64()
	return n, r.failed(err)
}

func (r reply) string() (string, error) {
	if r.err != nil {
		return "", r.err
	}
	s, err := r.res.ToString()
	return s, r.failed(err)
}

func (r reply) array(n int) ([]rueidis.RedisMessage, error) {
	if r.err != nil {
		return nil, r.err
	}
	arr, err := r.res.ToArray()
	if err := r.failed(err); err != nil {
		return nil, err
	}
	if len(arr) != n {
		return nil, fmt.Errorf("tier: a script answered %d values, not %d", len(arr), n)
	}
	return arr, nil
}
