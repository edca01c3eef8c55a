package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
)

const trimChunk = 10_000 // rows that one statement of Trim removes

// trimSQL drops the first rows from a transaction id on, as far as they are old enough, and remembers up to where.
const trimSQL = `with old as (
		select at, bool_or(created_at >= clock_timestamp() - $2 * interval '1 microsecond') over (order by xid, id) as young
		from (select ctid as at, id, xid, created_at from @@.outbox
			where xid >= $5::text::xid8 and xid < $1::text::xid8 order by xid, id limit $3) o),
	gone as (delete from @@.outbox o where o.ctid = any (array(select at from old where not young)) returning o.xid),
	top as (select max(xid::text::numeric) + 1 as n, count(*) as c from gone),
	kept as (update @@.meta
		set trimmed = case when trimmed_in = $4 then greatest(trimmed, top.n) else top.n end, trimmed_in = $4
		from top where top.c > 0)
	select c, coalesce(n, 0)::bigint from top`

// Trim drops changes at or before upto that are older than keep, and remembers up to where. Then it removes the
// version rows that are not needed any more. Each statement removes a bounded number of rows, and stands by itself.
func (s *Source) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (dropped int64, err error) {
	pool, err := s.feed()
	if err == nil {
		dropped, err = s.trim(ctx, pool, upto, keep)
	}
	if err == nil {
		err = s.sweepDeleted(ctx, pool)
	}
	if err == nil {
		err = s.sweepTruncated(ctx, pool)
	}
	if err != nil && (ctx.Err() == nil || dropped == 0) {
		return dropped, s.fault("trim", err)
	}
	return dropped, nil
}

func (s *Source) trim(ctx context.Context, pool *pgxpool.Pool, upto coherence.Position,
	keep time.Duration) (dropped int64, err error) {
	st, err := s.state(ctx, pool)
	if err != nil {
		return 0, err
	}
	if upto.Timeline != st.timeline {
		return 0, nil // the relay will notice
	}
	from := st.trim
	for n := int64(trimChunk); n == trimChunk; dropped += n {
		// Everything before the first row that is to stay may go. A chunk may end within a transaction: a position before
		// the transaction's end is then before what was trimmed, and the next chunk begins with that transaction. Where to
		// begin matters: until a vacuum the index still has what was dropped before.
		err = byIndex(ctx, pool, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, s.q(trimSQL), strconv.FormatUint(upto.N, 10), keep.Microseconds(), trimChunk,
				st.history, strconv.FormatUint(max(from, 1)-1, 10)).Scan(&n, &from)
		})
		if err != nil {
			return dropped, err
		}
	}
	// A dump brings rows of transactions that this server has not come to yet.
	for n := int64(trimChunk); n == trimChunk; dropped += n {
		err := byIndex(ctx, pool, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, s.q(`delete from @@.outbox where ctid = any (array(select ctid from @@.outbox
				where xid >= pg_snapshot_xmax(pg_current_snapshot()) order by xid, id limit $1))`), trimChunk)
			n = tag.RowsAffected()
			return err
		})
		if err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

// byIndex runs f in a transaction that finds rows of the outbox by their order. Without statistics, which a table that
// has just grown does not have, the planner would read and sort all of it.
func byIndex(ctx context.Context, pool *pgxpool.Pool, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select set_config('enable_sort', 'off', true),
			set_config('enable_bitmapscan', 'off', true), set_config('jit', 'off', true)`); err != nil {
			return err
		}
		return f(tx)
	})
}
