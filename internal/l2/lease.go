package l2

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

// LeaseID names a lease's holder or a writer: 8 random bytes, and the version that the holder knew of.
type LeaseID [knownOffset + 8]byte

// knownOffset is where the version begins.
const knownOffset = 8

// NewLeaseID returns a random id, of a holder that knows of no version.
func NewLeaseID() LeaseID { return NewLeaseIDKnowing(0) }

// NewLeaseIDKnowing returns a random id of a holder that knows that version v of the key exists, and begins its load
// after the lease is granted. Fill refuses an older record under this lease. So ApplyOnce need not end the lease for a
// version up to v.
func NewLeaseIDKnowing(v coherence.Version) (t LeaseID) {
	_, _ = rand.Read(t[:knownOffset]) // never fails
	binary.BigEndian.PutUint64(t[knownOffset:], uint64(v))
	return t
}

// LeaseStatus is the answer to Acquire.
type LeaseStatus uint8

// The answers.
const (
	Granted LeaseStatus = iota // the caller may load and fill
	Busy                       // another reader loads
	Writing                    // a write intent: ask the source, and fill nothing
	Present                    // there is a usable value after all
	Newer                      // there is a record of a newer schema or format, which must not be overwritten
)

var leaseNames = [...]string{"granted", "busy", "writing", "present", "newer"}

// String is the status's name in metrics.
func (s LeaseStatus) String() string { return leaseNames[s] }

// AcquireOptions says which records the caller can use.
type AcquireOptions struct {
	Schema uint32
	// Unusable is the beginning of a record that the caller has seen and cannot use, although its header is in order: a
	// record that begins with it counts as absent. At most HeaderSize bytes matter.
	Unusable []byte
}

// Lease is the answer to Acquire.
type Lease struct {
	Status      LeaseStatus
	ID          LeaseID
	Incarnation Incarnation   // of the bucket
	Left        time.Duration // how long the lease that is in the way still runs
}

// Acquire asks for the lease of a key for ttl.
func (l *L2) Acquire(ctx context.Context, k Key, id LeaseID, ttl time.Duration, a AcquireOptions) (Lease, error) {
	c := l.acquire(k, id, ttl, a)
	return leaseOf(l.run(ctx, c.call()), id)
}

func (l *L2) acquire(k Key, id LeaseID, ttl time.Duration, a AcquireOptions) smallCall {
	args := append(make([]byte, 0, len(id)+4), id[:]...)
	args = binary.BigEndian.AppendUint32(args, a.Schema)
	both := string(args)
	unusable := a.Unusable[:min(len(a.Unusable), HeaderSize)]
	return smallCall{l.scripts.acquire, 3, 4, [...]string{k.Record, k.Lease, l.keys.Watermark(k.Bucket),
		both[:len(id)], millisOf(ttl), both[len(id):], string(unusable)}}
}

// leaseOf parses acquire's answer: the bucket's incarnation, the status, a blank, and how long the lease in the way
// still runs. It is one string: an array of three would cost a miss as much as several of its other steps.
func leaseOf(r reply, id LeaseID) (Lease, error) {
	lease := Lease{ID: id}
	s, err := r.string()
	if err != nil {
		return lease, err
	}
	n := copy(lease.Incarnation[:], s)
	status, rest, _ := strings.Cut(s[n:], " ")
	left, err := strconv.ParseInt(rest, 10, 64)
	at := slices.Index(leaseNames[:], status)
	if at < 0 || err != nil {
		return lease, fmt.Errorf("tier: acquire answered %q", s)
	}
	lease.Status, lease.Left = LeaseStatus(at), time.Duration(left)*time.Millisecond
	return lease, nil
}

// FillResult is the answer to Fill.
type FillResult uint8

// The answers.
const (
	Filled             FillResult = iota
	LeaseLost                     // the lease expired, or the key was invalidated meanwhile
	IncarnationChanged            // the bucket began another incarnation meanwhile
	TooLarge                      // the record is over MaxRecordBytes and was not offered
)

var fillNames = [...]string{"filled", "lease_lost", "incarnation_changed", "too_large"}

// String is the result's name in metrics.
func (r FillResult) String() string { return fillNames[r] }

// Fill stores a loaded record for ttl and gives the lease back, if the lease stands and the bucket's incarnation still
// is what it was when the lease was granted.
func (l *L2) Fill(
	ctx context.Context,
	k Key,
	id LeaseID,
	incarnation Incarnation,
	rec Record,
	ttl time.Duration,
) (FillResult, error) {
	c, err := l.fill(k, id, incarnation, rec, ttl)
	if err != nil {
		return TooLarge, err
	}
	if c == nil {
		return TooLarge, nil
	}
	return fillOf(l.run(ctx, c.call()))
}

func fillOf(r reply) (FillResult, error) {
	s, err := r.string()
	if err != nil {
		return LeaseLost, err
	}
	for r, name := range fillNames {
		if name == s {
			return FillResult(r), nil
		}
	}
	return LeaseLost, fmt.Errorf("tier: fill answered %q", s)
}

// fill is nil for a record that is too large.
func (l *L2) fill(k Key, id LeaseID, incarnation Incarnation, rec Record, ttl time.Duration) (*smallCall, error) {
	b, err := encode(k, rec, ttl)
	if b == "" {
		return nil, err
	}
	both := string(append(append(make([]byte, 0, len(id)+len(incarnation)), id[:]...), incarnation[:]...))
	return &smallCall{l.scripts.fill, 3, 4, [...]string{k.Record, k.Lease, l.keys.Watermark(k.Bucket),
		both[:len(id)], both[len(id):], b, millisOf(ttl)}}, nil
}

// Renew makes a lease run for ttl from now; held is false if it is not this id's any more.
func (l *L2) Renew(ctx context.Context, k Key, id LeaseID, ttl time.Duration) (held bool, err error) {
	n, err := l.run(ctx, call{l.scripts.renew, []string{k.Lease}, []string{string(id[:]), millisOf(ttl)}}).int()
	return n == 1, err
}

// Release gives a lease back unfilled and wakes those who wait for the fill.
func (l *L2) Release(ctx context.Context, k Key, id LeaseID) error {
	_, err := l.run(ctx, call{l.scripts.release, []string{k.Record, k.Lease}, []string{string(id[:])}}).int()
	return err
}

// HeldLease names a lease that a caller holds.
type HeldLease struct {
	Key Key
	ID  LeaseID
}

// ReleaseMany is Release of several leases, in one pipeline for each node. The error is that of the first that failed.
func (l *L2) ReleaseMany(ctx context.Context, held []HeldLease) (err error) {
	calls := make([]call, len(held))
	for i := range held {
		k := &held[i].Key
		calls[i] = call{l.scripts.release, []string{k.Record, k.Lease}, []string{string(held[i].ID[:])}}
	}
	for _, r := range l.runAll(ctx, calls) {
		_, e := r.int()
		err = firstOf(err, e)
	}
	return err
}

// all are the keys that most scripts take.
func (l *L2) all(k Key) []string { return []string{k.Record, k.Lease, l.keys.Watermark(k.Bucket)} }

// millisOf is a TTL as Redis takes it, which knows nothing below a millisecond.
func millisOf(d time.Duration) string {
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// AcquireRequest asks for the lease of a key.
type AcquireRequest struct {
	Key     Key
	Known   coherence.Version // see NewLeaseIDKnowing
	Options AcquireOptions
}

// AcquireResponse is the answer to one AcquireRequest.
type AcquireResponse struct {
	Lease Lease
	Err   error
}

// AcquireMany is Acquire for several keys, each with a new id, in one pipeline for each node.
func (l *L2) AcquireMany(ctx context.Context, asks []AcquireRequest, ttl time.Duration) []AcquireResponse {
	out, calls := make([]AcquireResponse, len(asks)), make([]call, len(asks))
	for i, a := range asks {
		out[i].Lease.ID = NewLeaseIDKnowing(a.Known)
		c := l.acquire(a.Key, out[i].Lease.ID, ttl, a.Options)
		calls[i] = c.call()
	}
	for i, r := range l.runAll(ctx, calls) {
		out[i].Lease, out[i].Err = leaseOf(r, out[i].Lease.ID)
	}
	return out
}

// FillRequest offers the record of a key.
type FillRequest struct {
	Key         Key
	ID          LeaseID
	Incarnation Incarnation
	Record      Record
	TTL         time.Duration
}

// FillResponse is the answer to one FillRequest.
type FillResponse struct {
	Result FillResult
	Err    error
}

// FillMany is Fill for several keys, in one pipeline for each node.
func (l *L2) FillMany(ctx context.Context, fills []FillRequest) []FillResponse {
	out := make([]FillResponse, len(fills))
	calls, at := make([]call, 0, len(fills)), make([]int, 0, len(fills))
	for i, f := range fills {
		c, err := l.fill(f.Key, f.ID, f.Incarnation, f.Record, f.TTL)
		if c == nil {
			out[i] = FillResponse{TooLarge, err}
			continue
		}
		calls, at = append(calls, c.call()), append(at, i)
	}
	for i, r := range l.runAll(ctx, calls) {
		out[at[i]].Result, out[at[i]].Err = fillOf(r)
	}
	return out
}
