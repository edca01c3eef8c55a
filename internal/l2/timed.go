package l2

import (
	"context"
	"time"

	"github.com/redis/rueidis"
)

// TimedResponse is a record, and how long Redis still keeps it.
type TimedResponse struct {
	Raw  []byte        // nil: no record
	Left time.Duration // negative: for ever, which no program of ours asks for
	Err  error
}

// GetTimed reads records with their TTLs. The records come on the connection on which Get reads, so that a session of
// the bucket counts for them too. Unlike Get it has Redis track nothing: GETEX counts among the commands that write. A
// program that reads every record would fill Redis's table of tracked keys, and push out those of the instances.
//
// The TTLs come first, and on the commands connection, since PTTL would be tracked. If the record is replaced in
// between, it may outlive Left.
func (l *L2) GetTimed(ctx context.Context, ks []Key) []TimedResponse {
	out := make([]TimedResponse, len(ks))
	c := l.clients.Load()
	if c == nil {
		for i := range out {
			out[i].Err = ErrUnavailable
		}
		return out
	}
	ttls, gets := make([]rueidis.Completed, len(ks)), make([]rueidis.Completed, len(ks))
	for i, k := range ks {
		ttls[i] = c.commands.B().Pttl().Key(k.Record).Build()
		gets[i] = c.reading().B().Getex().Key(k.Record).Build()
	}
	for i, res := range c.commands.DoMulti(ctx, ttls...) {
		left, err := res.AsInt64()
		out[i].Err = l.failed(l.Node(ks[i].Bucket), opOthers, err)
		if out[i].Left = time.Duration(left) * time.Millisecond; left == -2 { // there was no record
			out[i].Left = 0
		}
	}
	for i, res := range c.reading().DoMulti(ctx, gets...) {
		raw, err := l.value(ks[i].Bucket, res)
		if out[i].Err == nil {
			out[i].Raw, out[i].Err = raw, err
		}
	}
	return out
}
