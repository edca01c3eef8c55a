package l2

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// TimedResponse is a record, and how long Redis still keeps it.
type TimedResponse struct {
	Raw  []byte // nil: no record
	Left time.Duration
	Err  error
}

// GetTimed reads records with their TTLs, on the connection on which Get reads, so that a session of the bucket counts
// for it too. Unlike Get it has Redis track nothing. A record without a TTL has 0 left: no program of ours wrote it.
func (l *L2) GetTimed(ctx context.Context, ks []Key) []TimedResponse {
	out := make([]TimedResponse, len(ks))
	c := l.clients.Load()
	if c == nil {
		for i := range out {
			out[i].Err = ErrUnavailable
		}
		return out
	}
	calls := make([]call, len(ks))
	for i, k := range ks {
		calls[i] = call{l.scripts.readTimed, []string{k.Record}, nil}
	}
	for i, res := range runAll(ctx, c.reading(), calls) {
		out[i] = timedOf(reply{l, calls[i], res, nil})
	}
	return out
}

// timedOf parses what the script has read.
func timedOf(r reply) (t TimedResponse) {
	read, err := r.array(3)
	if err != nil {
		return TimedResponse{Err: err}
	}
	if wrong, _ := read[2].AsInt64(); wrong == 1 {
		return TimedResponse{Err: ErrWrongType}
	}
	if t.Raw, err = read[0].AsBytes(); err != nil && !rueidis.IsRedisNil(err) {
		return TimedResponse{Err: r.failed(err)}
	}
	left, _ := read[1].AsInt64()
	t.Left = max(0, time.Duration(left)*time.Millisecond)
	return t
}
