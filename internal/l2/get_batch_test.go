package l2_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// countedConn counts the writes to all connections.
type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// together is an L2 in a bubble, with a record for each of its keys. A read that leads a batch waits for release.
type together struct {
	*l2.L2
	redis   *nearcachetest.Redis
	keys    []l2.Key
	writes  atomic.Int64
	release chan struct{}
}

const readers = 8

func inTogetherBubble(t *testing.T, test func(t *testing.T, b *together)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b := &together{redis: r, release: make(chan struct{})}
		opt := r.PipeOption()
		opt.DialCtxFn = func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
			conn, err := r.Dial()
			if err != nil {
				return nil, err
			}
			return countedConn{conn, &b.writes}, nil
		}
		if b.L2, err = l2.Open(l2.Config{Redis: opt, Tracker: &ear{}}); err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.Ready(ctx()); err != nil {
			t.Fatal(err)
		}
		for i := range readers {
			k := b.Keyspace().Key("n", fmt.Sprint(i))
			b.keys = append(b.keys, k)
			raw, err := l2.AppendRecord(nil, l2.Record{Version: 1, Payload: []byte(k.Name)})
			if err != nil {
				t.Fatal(err)
			}
			r.Do("SET", k.Record, string(raw))
			if _, err := b.ResetWatermark(ctx(), k.Bucket, l2.Watermark{}, position(k)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := b.Get(ctx(), k, l2.ReadOptions{}); err != nil { // which node has the bucket is known now
				t.Fatal(err)
			}
		}
		if n := b.JoinedReads(); n != 0 {
			t.Fatalf("%d reads joined others, which had ended before", n)
		}
		b.OnYield(func() { <-b.release })
		b.writes.Store(0)
		test(t, b)
	})
}

// position is that of the watermark of a key's bucket.
func position(k l2.Key) coherence.Position {
	return coherence.Position{Timeline: 1, N: uint64(100 + k.Bucket)}
}

// begin reads all keys, every second one with its bucket's watermark. The first read leads, and the others have joined
// it when begin returns. wait returns their errors.
func (b *together) begin(t *testing.T, ctxs [readers]context.Context) (wait func() [readers]error) {
	t.Helper()
	var wg sync.WaitGroup
	var errs [readers]error
	for i, k := range b.keys {
		wg.Go(func() {
			raw, w, err := b.Get(ctxs[i], k, l2.ReadOptions{Watermark: i%2 == 1})
			if errs[i] = err; err != nil {
				return
			}
			rec, err := l2.DecodeRecord(raw)
			if err != nil || string(rec.Payload) != k.Name {
				t.Errorf("key %s: got %q and error %v, want its own value", k.Name, rec.Payload, err)
			}
			if i%2 == 1 && w.Position != position(k) {
				t.Errorf("key %s: got the watermark %v, want that of its bucket, %v", k.Name, w.Position, position(k))
			}
		})
		synctest.Wait()
	}
	return func() [readers]error { wg.Wait(); return errs }
}

func allWith(c context.Context) (all [readers]context.Context) {
	for i := range all {
		all[i] = c
	}
	return all
}

// TestGet_ReadsThatBeginTogetherGoTogether: eight reads are one write to the connection.
func TestGet_ReadsThatBeginTogetherGoTogether(t *testing.T) {
	inTogetherBubble(t, func(t *testing.T, b *together) {
		wait := b.begin(t, allWith(ctx()))
		close(b.release)
		for i, err := range wait() {
			if err != nil {
				t.Errorf("read %d: %v", i, err)
			}
		}
		if n := b.writes.Load(); n != 1 {
			t.Errorf("%d reads took %d writes to the connection, want one", readers, n)
		}
		if n := b.JoinedReads(); n != readers-1 {
			t.Errorf("%d reads were counted as joined, want %d", n, readers-1)
		}
	})
}

// onlyCancelled checks that of some reads one was cancelled and the others had their replies.
func onlyCancelled(t *testing.T, errs [readers]error, one int) {
	t.Helper()
	for i, err := range errs {
		if canceled := errors.Is(err, context.Canceled); canceled != (i == one) || err != nil && !canceled {
			t.Errorf("read %d: got the error %v; only read %d was cancelled", i, err, one)
		}
	}
}

// TestGet_ALeaderThatIsCancelledTakesNobodyAlong: the pipeline has the context of its leader. The others ask again.
func TestGet_ALeaderThatIsCancelledTakesNobodyAlong(t *testing.T) {
	inTogetherBubble(t, func(t *testing.T, b *together) {
		leading, cancel := context.WithCancel(ctx())
		defer cancel()
		ctxs := allWith(ctx())
		ctxs[0] = leading
		wait := b.begin(t, ctxs)
		b.redis.Pause()
		close(b.release)
		synctest.Wait() // the pipeline is under way
		cancel()
		synctest.Wait()
		b.redis.Resume()
		onlyCancelled(t, wait(), 0)
	})
}

// TestGet_AMemberThatIsCancelledLeavesItsBatch: it does not wait for the leader, who goes on without it.
func TestGet_AMemberThatIsCancelledLeavesItsBatch(t *testing.T) {
	inTogetherBubble(t, func(t *testing.T, b *together) {
		leaving, cancel := context.WithCancel(ctx())
		defer cancel()
		ctxs := allWith(ctx())
		ctxs[1] = leaving
		wait := b.begin(t, ctxs)
		cancel()
		synctest.Wait()
		close(b.release)
		onlyCancelled(t, wait(), 1)
		b.OnYield(func() {})
		for i, err := range b.begin(t, allWith(ctx()))() { // the place of the one that left is nobody else's
			if err != nil {
				t.Errorf("read %d, later: %v", i, err)
			}
		}
	})
}
