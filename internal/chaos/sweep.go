//go:build unix

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// settle is how long it may take until everything is proved once all writers are paused.
const settle = 30 * time.Second

// sweep has every key read in every tier while all writers are paused. The writers are paused first, then every
// instance must prove the bound past that moment, by either channel: from then on all tiers have to agree (C7).
func (b *cluster) sweep(ctx context.Context, hist *history.Log) error {
	if err := b.command(ctx, "pause", append(b.instances(), "writer")); err != nil {
		return err
	}
	quiet := b.clock.Now()
	err := until(ctx, settle, "every instance proves the bound past the last write by both channels", func() bool {
		for _, name := range b.instances() {
			if b.member(name).status().Settled <= quiet {
				return false
			}
		}
		return true
	})
	if err == nil {
		// Redis first: an instance that finds something old there sets it right.
		err = errors.Join(b.sweepRedis(ctx, hist), b.command(ctx, "sweep", b.instances()))
	}
	return errors.Join(err, b.command(ctx, "go", append(b.instances(), "writer")))
}

// command has members carry out a command and waits for it.
func (b *cluster) command(ctx context.Context, cmd string, names []string) error {
	sent := make([]int, len(names))
	for i, name := range names {
		var err error
		if sent[i], err = b.member(name).send(cmd); err != nil {
			return err
		}
	}
	var errs []error
	for i, name := range names {
		errs = append(errs, b.member(name).await(ctx, sent[i]))
	}
	return errors.Join(errs...)
}

// relayed waits until the relay has applied to Redis what was committed before. Without tracking the instances prove
// their bounds by events, and do not know. A round that is two after the last one was begun since.
func relayed(ctx context.Context, store *l2.L2) error {
	last := func() (l2.Round, error) {
		rounds, err := store.LastRounds(ctx, l2.SetOf(l2.RoundBucket))
		return rounds[l2.RoundBucket], err
	}
	first, err := last()
	if err != nil {
		return err
	}
	return until(ctx, settle, "the relay applies the last write to Redis", func() bool {
		now, err := last()
		return err == nil && now.Number >= first.Number+2 && now.Upto.Covers(now.Head)
	})
}

// sweepRedis reads every record that Redis holds and that a cache would take: of its bucket's incarnation.
func (b *cluster) sweepRedis(ctx context.Context, hist *history.Log) error {
	store, err := b.openL2()
	if err != nil {
		return err
	}
	defer store.Close()
	if b.cfg.Tracking == trackingOff {
		if err := relayed(ctx, store); err != nil {
			return err
		}
	}
	for k := range uint32(b.cfg.Keys) {
		r := history.Record{Op: history.Sweep, Key: k, Tier: history.L2, Invoke: b.clock.Now()}
		raw, w, err := store.Get(ctx, store.Keyspace().Key(namespace, strconv.FormatUint(uint64(k), 10)),
			l2.ReadOptions{Watermark: true})
		r.Return = b.clock.Now()
		if err != nil {
			return fmt.Errorf("chaos: sweeping Redis: %w", err)
		}
		if raw == nil {
			continue
		}
		rec, err := l2.DecodeRecord(raw)
		if err != nil {
			return fmt.Errorf("chaos: sweeping Redis: key %d: %w", k, err)
		}
		if rec.Incarnation != w.Incarnation {
			continue
		}
		r.Version = uint64(rec.Version)
		if rec.Absent {
			r.Flags = history.Absent
		} else {
			var v item
			if err := json.Unmarshal(rec.Payload, &v); err != nil {
				return fmt.Errorf("chaos: sweeping Redis: key %d: %w", k, err)
			}
			r.Hash = hashOf(v.Body)
		}
		hist.Append(&r)
	}
	return nil
}
