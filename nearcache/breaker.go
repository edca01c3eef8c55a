package nearcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// breakerLimit is how many reads of Redis in a row must fail, or take too long, for the breaker to open.
const breakerLimit = 5

var errBreakerOpen = fmt.Errorf("%w: the circuit breaker is open", l2.ErrUnavailable)

// breaker keeps a Redis that is slow, or gone, from slowing every read: each waits for it at most for timeout, and
// after breakerLimit failures in a row none does. The heartbeat goes on, and closes the breaker when Redis answers in
// time again. So no read is spent on trying.
//
// The questions of the read pipeline go through it: for records, leases and fills. So do writes where a Source's relay
// carries the change too. Other writes must reach Redis, and do not.
type breaker struct {
	timeout  time.Duration
	failed   atomic.Int32
	opened   atomic.Bool
	log      *slog.Logger
	onOpen   func()
	inFlight requests
}

// ask runs a read of Redis.
func (b *breaker) ask(ctx context.Context, f func(context.Context) error) error {
	return b.askSince(ctx, b.inFlight.now(), b.timeout, f)
}

// askSince is ask for a request that began at a moment of the client's clock and may take so long. A reader that gives
// up says nothing about Redis, and is not counted.
func (b *breaker) askSince(ctx context.Context, began int64, limit time.Duration, f func(context.Context) error) error {
	if b.opened.Load() {
		return errBreakerOpen
	}
	r := b.inFlight.begin(ctx, began, limit)
	answered := false
	defer func() { b.inFlight.end(r, answered) }()
	err := f(r)
	if answered = err == nil; answered || !errors.Is(r.Err(), context.Canceled) {
		b.heard(err)
	}
	return err
}

// askMany is askSince for n keys, each with an answer of its own: one that is unavailable counts as a failure. With the
// breaker open every answer is that error.
func askMany[T any](ctx context.Context, b *breaker, began int64, limit time.Duration, n int,
	f func(context.Context) []T, errOf func(*T) *error) (out []T) {
	err := b.askSince(ctx, began, limit, func(ctx context.Context) error {
		out = f(ctx)
		for i := range out {
			if err := *errOf(&out[i]); errors.Is(err, l2.ErrUnavailable) {
				return err
			}
		}
		return nil
	})
	if out == nil {
		out = make([]T, n)
		for i := range out {
			*errOf(&out[i]) = err
		}
	}
	return out
}

// heard takes the result of a request, and counts failures in a row.
func (b *breaker) heard(err error) {
	switch {
	case !errors.Is(err, l2.ErrUnavailable):
		if b.failed.Load() != 0 {
			b.failed.Store(0)
		}
	case b.failed.Add(1) >= breakerLimit && b.opened.CompareAndSwap(false, true):
		b.log.Warn("reads pass over Redis until it answers in time", "error", err)
		b.onOpen()
	}
}

// beat takes the heartbeat's result. The heartbeat asks Redis whether or not the breaker is open.
func (b *breaker) beat(err error, took time.Duration) {
	if err == nil && took > b.timeout {
		err = fmt.Errorf("%w: a heartbeat took %v", l2.ErrUnavailable, took)
	}
	b.heard(err)
	if err == nil && b.opened.CompareAndSwap(true, false) {
		b.log.Info("reads ask Redis again")
	}
}
