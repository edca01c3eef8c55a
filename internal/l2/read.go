package l2

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/rueidis"
)

// ReadOptions says what else is read with a record.
type ReadOptions struct {
	// Watermark has the watermark of the key's bucket read before the record, on the same connection.
	Watermark bool
	// Lease has the key's lease read too, so that Redis pushes when it ends: by a fill, by being given back, dropped,
	// expired or evicted.
	Lease bool
}

// GetResponse is what a read found under one key.
type GetResponse struct {
	Raw       []byte    // nil: no record
	Watermark Watermark // if it was asked for
	Err       error
}

// Get reads a record on the tracking connection, so that Redis pushes its next change; raw is nil if there is none. A
// key of another type is ErrWrongType. Without a tracker, see getTogether.
func (l *L2) Get(ctx context.Context, k Key, o ReadOptions) (raw []byte, w Watermark, err error) {
	if o.Lease || o.Watermark && l.recent != nil {
		r := l.GetMany(ctx, []Key{k}, o)[0]
		return r.Raw, r.Watermark, r.Err
	}
	c := l.clients.Load()
	if c == nil {
		return nil, w, ErrUnavailable
	}
	if c.tracking == nil {
		return l.getTogether(ctx, k)
	}
	reply := l.getOne(ctx, c, k, o.Watermark)
	if o.Watermark {
		if w, err = l.watermark(k.Bucket, reply.watermark); err != nil {
			return nil, w, err
		}
	}
	raw, err = l.value(k.Bucket, reply.record)
	return raw, w, err
}

// GetMany is Get of several keys, in one pipeline for each node.
func (l *L2) GetMany(ctx context.Context, ks []Key, o ReadOptions) []GetResponse {
	out := make([]GetResponse, len(ks))
	again := l.getMany(ctx, ks, o, bySHA, out)
	if len(again) == 0 {
		return out
	}
	some := make([]Key, len(again))
	for j, i := range again {
		some[j] = ks[i]
	}
	found := make([]GetResponse, len(again))
	l.getMany(ctx, some, o, bySource, found)
	for j, i := range again {
		out[i] = found[j]
	}
	return out
}

// getMany returns which keys are to be read again: their server did not know the script by the form in which it was
// called. Their records were read behind a watermark that was not adopted, and do not count.
func (l *L2) getMany(ctx context.Context, ks []Key, o ReadOptions, form scriptForm, out []GetResponse) (again []int) {
	c := l.clients.Load()
	if c == nil {
		for i := range out {
			out[i].Err = ErrUnavailable
		}
		return nil
	}
	if c.tracking == nil {
		l.getManyTogether(ctx, ks, out)
		return nil
	}
	cmds := make([]rueidis.Completed, 0, 2*len(ks))
	at := make(map[int]int) // where a bucket's answer is, plus 1
	for _, k := range ks {
		if !o.Watermark || at[k.Bucket] != 0 {
			continue
		}
		if l.recent != nil {
			cmds = append(cmds, l.adoption(c, k.Bucket, form))
		} else {
			cmds = append(cmds, l.readWatermark(c, k.Bucket))
		}
		at[k.Bucket] = len(cmds)
	}
	if o.Lease {
		for _, k := range ks {
			cmds = append(cmds, c.tracking.B().Get().Key(k.Lease).Build())
		}
	}
	first := len(cmds)
	for _, k := range ks {
		cmds = append(cmds, c.tracking.B().Get().Key(k.Record).Build())
	}
	res := c.tracking.DoMulti(ctx, cmds...)
	for i, k := range ks {
		if o.Watermark {
			read := res[at[k.Bucket]-1]
			if l.recent != nil && unknown(read.Error()) && form == bySHA {
				again = append(again, i)
				continue
			}
			if out[i].Watermark, out[i].Err = l.adopted(read, k.Bucket); out[i].Err != nil {
				continue
			}
		}
		out[i].Raw, out[i].Err = l.value(k.Bucket, res[first+i])
	}
	return again
}

// HeartbeatReply is what a heartbeat read of one bucket.
type HeartbeatReply struct {
	Watermark Watermark
	OK        bool // false: the bucket's node did not answer
}

// Heartbeat reads the watermarks of buckets on the tracking connection, in one pipeline for each node, and returns the
// replies by bucket. The error is that of the first that failed, and says how many did: it ends up in a log line.
func (l *L2) Heartbeat(ctx context.Context, of BucketSet) (replies map[int]HeartbeatReply, err error) {
	c := l.clients.Load()
	if c == nil {
		return nil, ErrUnavailable
	}
	n := of.Len()
	replies = make(map[int]HeartbeatReply, n)
	cmds, buckets := make([]rueidis.Completed, 0, n), make([]int, 0, n)
	for b := range of.All() {
		cmds, buckets = append(cmds, l.readWatermark(c, b)), append(buckets, b)
	}
	failed := 0
	for i, res := range c.reading().DoMulti(ctx, cmds...) {
		w, e := l.watermark(buckets[i], res)
		replies[buckets[i]] = HeartbeatReply{w, e == nil}
		if e != nil {
			err, failed = firstOf(err, e), failed+1
		}
	}
	if failed > 1 {
		err = fmt.Errorf("%d of %d buckets: %w", failed, len(buckets), err)
	}
	if l.recent != nil {
		err = firstOf(err, l.adoptRead(ctx, c, replies))
	}
	return replies, err
}

// readWatermark reads with GETEX, which Redis counts among the commands that write: it tracks no key for it. A GET
// would have every move of a watermark pushed, several times a second.
func (l *L2) readWatermark(c *clients, bucket int) rueidis.Completed {
	return c.reading().B().Getex().Key(l.keys.Watermark(bucket)).Build()
}

// value is the record in a reply, nil if there is none.
func (l *L2) value(bucket int, res rueidis.RedisResult) ([]byte, error) {
	b, err := res.AsBytes()
	if wrongType(err) {
		return nil, ErrWrongType
	}
	if err := l.failed(l.Node(bucket), opReads, err); err != nil {
		return nil, err
	}
	return b, nil
}

// watermark is the watermark in a reply. A key of another type counts as none.
func (l *L2) watermark(bucket int, res rueidis.RedisResult) (Watermark, error) {
	return l.watermarkBy(opMarks, bucket, res)
}

func (l *L2) watermarkBy(op, bucket int, res rueidis.RedisResult) (Watermark, error) {
	s, err := res.ToString()
	if wrongType(err) {
		return Watermark{}, nil
	}
	if err := l.failed(l.Node(bucket), op, err); err != nil {
		return Watermark{}, err
	}
	return decodeWatermark(s), nil
}

func wrongType(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && strings.HasPrefix(e.Error(), "WRONGTYPE")
}
