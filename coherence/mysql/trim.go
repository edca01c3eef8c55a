package mysql

import (
	"context"
	"database/sql"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
)

const (
	trimChunk  = 10_000 // changes that one transaction of Trim removes; writers get their turn in between
	sweepChunk = 500    // version rows that one transaction removes
	sweepFrom  = 1_000  // a namespace's deleted keys whose version rows are kept before Trim removes any
)

// Trim drops changes at or before upto that are older than keep, then the version rows of deleted keys, and the rows of
// connections that have not written for a day.
func (s *Source) Trim(ctx context.Context, upto coherence.Position, keep time.Duration) (dropped int64, err error) {
	h, err := s.head(ctx, s.db)
	if err != nil {
		return 0, s.fault("trim", err)
	}
	if h.timeline != upto.Timeline {
		return 0, nil // it says nothing about this history
	}
	for more := true; more && err == nil; {
		var n int64
		n, more, err = s.trimChunk(ctx, upto.N, keep)
		dropped += n
	}
	if err == nil {
		err = s.sweep(ctx, upto.N)
	}
	if err == nil {
		err = s.forgetWriters(ctx)
	}
	if err != nil && (ctx.Err() == nil || dropped == 0) {
		return dropped, s.fault("trim", err)
	}
	return dropped, nil
}

// trimChunk drops changes from the front, up to the first that is younger than keep.
func (s *Source) trimChunk(ctx context.Context, upto uint64, keep time.Duration) (dropped int64, more bool, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		var top sql.NullInt64
		var n int64
		err := tx.QueryRowContext(ctx, s.q(`select max(id), count(*) from (
				select id, sum(created_at >= utc_timestamp(6) - interval ? microsecond) over (order by id) as young
				from (select id, created_at from {db}.outbox where id <= ? order by id limit ?) front) f where young = 0`),
			keep.Microseconds(), int64(upto), trimChunk).Scan(&top, &n)
		if err != nil || !top.Valid {
			return err
		}
		more = n == trimChunk
		// Who reads the outbox now sees the mark and the rows in one snapshot.
		_, err = tx.ExecContext(ctx, s.q(`update {db}.meta set trimmed = greatest(trimmed, ?)`), top.Int64)
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, s.q(`delete from {db}.outbox where id <= ?`), top.Int64)
		if err == nil {
			dropped, err = res.RowsAffected()
		}
		return err
	})
	return dropped, more, err
}

// sweep removes version rows of deleted keys. The floor of their namespace, which is the version of a key without a
// row, is raised to upto in the same transaction. No open transaction has an id up to there, so whoever changes a key
// from now on gives it a larger version than a reader that sees the floor.
func (s *Source) sweep(ctx context.Context, upto uint64) error {
	namespaces, err := s.sweepable(ctx)
	if err != nil {
		return err
	}
	for _, namespace := range namespaces {
		for more := true; more; {
			if more, err = s.sweepChunk(ctx, namespace, upto); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepable are the namespaces with many deleted keys.
func (s *Source) sweepable(ctx context.Context) (namespaces []string, err error) {
	return oneColumn[string](ctx, s.db, s.q(`select namespace from {db}.versions where deleted = 1
		group by namespace having count(*) >= ?`), sweepFrom)
}

// sweepChunk leaves out the rows that a writer has locked.
func (s *Source) sweepChunk(ctx context.Context, namespace string, upto uint64) (more bool, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		keys, err := s.deletedKeys(ctx, tx, namespace, upto)
		if err != nil || len(keys) == 0 {
			return err
		}
		more = len(keys) == sweepChunk
		if _, err := tx.ExecContext(ctx, s.q(`insert into {db}.floors (namespace, floor) values (?, ?)
			on duplicate key update floor = greatest(floor, values(floor))`), namespace, int64(upto)); err != nil {
			return err
		}
		// One by one: for a list of keys the server may read the whole table, and wait for every writer.
		for _, k := range keys {
			if _, err := tx.ExecContext(ctx, s.q(`delete from {db}.versions where namespace = ? and k = ?`), namespace,
				k); err != nil {
				return err
			}
		}
		return nil
	})
	return more, err
}

func (s *Source) deletedKeys(ctx context.Context, tx *sql.Tx, namespace string, upto uint64) ([][]byte, error) {
	return oneColumn[[]byte](ctx, tx, s.q(`select k from {db}.versions
		where deleted = 1 and namespace = ? and version <= ? limit ? for update skip locked`), namespace, int64(upto),
		sweepChunk)
}

// oneColumn runs a query of one column.
func oneColumn[T any](ctx context.Context, db querier, query string, args ...any) (out []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// forgetWriters removes the rows of connections that have not written for long. One that writes again makes a new row.
func (s *Source) forgetWriters(ctx context.Context) error {
	return s.transact(ctx, func(tx *sql.Tx) error {
		conns, err := oneColumn[int64](ctx, tx, s.q(`select conn from {db}.writers
			where marked = 0 and at < utc_timestamp(6) - interval 1 day limit 1000 for update skip locked`))
		for _, c := range conns {
			if err == nil {
				_, err = tx.ExecContext(ctx, s.q(`delete from {db}.writers where conn = ?`), c)
			}
		}
		return err
	})
}
