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

// Beat asks whether Redis answers, and takes writes: one server, or in a Cluster the nodes of some buckets. One bucket
// stands for those of its node. If it fails, or turns out to be elsewhere, the others of that node are asked too: each
// may have gone to another node. The error is that of the first that failed.
func (l *L2) Beat(ctx context.Context, of BucketSet) error {
	var first BucketSet
	with := make(map[*Node]BucketSet)
	for b := range of.All() {
		n := l.Node(b)
		set, known := with[n]
		if !known {
			first.Add(b)
		}
		set.Add(b)
		with[n] = set
		if l.OneServer() {
			break
		}
	}
	var more BucketSet
	err := l.beat(ctx, first, func(bucket int, n *Node, err error) {
		if err != nil || n == l.nodes.none || l.Node(bucket) != n {
			more = more.Union(with[n])
		}
	})
	return firstOf(err, l.beat(ctx, more.Minus(first), nil))
}

// beat runs a script of each bucket. done, if any, is called with the node that the bucket had before.
func (l *L2) beat(ctx context.Context, of BucketSet, done func(bucket int, was *Node, err error)) (err error) {
	var calls []call
	var at []int
	var was []*Node
	for b := range of.All() {
		calls, at = append(calls, call{l.scripts.beat, []string{l.keys.nothing(b)}, nil}), append(at, b)
		was = append(was, l.Node(b))
	}
	for i, r := range l.runAll(ctx, calls) {
		_, e := r.int()
		err = firstOf(err, e)
		if done != nil {
			done(at[i], was[i], e)
		}
	}
	return err
}
