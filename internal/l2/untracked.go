package l2

import (
	"context"

	"github.com/redis/rueidis"
)

// This file is for a Redis that pushes nothing. There may be a proxy before it, so that two commands which follow each
// other are answered by two servers. So a record and the watermark that it is judged by are read by one script.
//
// It is a script and not MGET or MULTI: some proxies take these apart. A script goes to the server of its first key.

// getTogether reads a record and the watermark of its bucket, of one moment on one server. raw is nil if there is no
// record. A key of another type is ErrWrongType.
func (l *L2) getTogether(ctx context.Context, k Key) (raw []byte, w Watermark, err error) {
	c := smallCall{l.scripts.read, 2, 0, [...]string{k.Record, l.keys.Watermark(k.Bucket), 6: ""}}
	return l.together(l.run(ctx, c.call()))
}

// getManyTogether is getTogether for several keys, in one pipeline for each node.
func (l *L2) getManyTogether(ctx context.Context, ks []Key, out []GetResponse) {
	calls := make([]call, len(ks))
	for i, k := range ks {
		calls[i] = call{l.scripts.read, []string{k.Record, l.keys.Watermark(k.Bucket)}, nil}
	}
	for i, r := range l.runAll(ctx, calls) {
		out[i].Raw, out[i].Watermark, out[i].Err = l.together(r)
	}
}

// together parses what the script has read.
func (l *L2) together(r reply) (raw []byte, w Watermark, err error) {
	read, err := r.array(3)
	if err != nil {
		return nil, w, err
	}
	if wrong, _ := read[2].AsInt64(); wrong == 1 {
		return nil, w, ErrWrongType
	}
	mark, _ := read[0].ToString()
	raw, err = read[1].AsBytes()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, w, r.failed(err)
	}
	return raw, decodeWatermark(mark), nil
}

// Beat asks whether Redis answers, and takes writes: one server, or in a Cluster those of some buckets. The error is
// that of the first that failed.
func (l *L2) Beat(ctx context.Context, of BucketSet) error {
	if l.OneServer() {
		of &= -of // the first
	}
	var calls []call
	for b := range of.All() {
		calls = append(calls, call{l.scripts.beat, []string{l.keys.nothing(b)}, nil})
	}
	var first error
	for _, r := range l.runAll(ctx, calls) {
		_, err := r.int()
		first = firstOf(first, err)
	}
	return first
}
