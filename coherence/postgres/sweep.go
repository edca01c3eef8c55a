package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	sweepFrom  = 1_000 // a namespace's deleted keys whose version rows are kept before Trim removes any
	sweepPages = 20    // pages of trimChunk version rows that one Trim looks at after a truncate
)

// sweepDeleted removes the version rows of deleted keys, without any number being used for two states. It takes two
// steps, with time between them:
//
//	raise     next_floor, from which the first version of a key goes on, becomes the largest version that is to go
//	publish   once no transaction is left that may have counted from the old next_floor, and no snapshot that still sees
//	          it: floor, which readers are given for a key without a row, becomes next_floor, and rows below it may go
//
// A transaction that counted from the old one may hold a row that it has not committed; a reader that was given the new
// floor meanwhile would see the version go back.
func (s *Source) sweepDeleted(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, s.q(`update @@.floors f set floor = next_floor where floor < next_floor
		and raised < pg_snapshot_xmin(pg_current_snapshot())
		and not exists (select from pg_stat_activity a where a.pid <> pg_backend_pid() and a.backend_xmin is not null
			and age(a.backend_xmin) >= age(f.raised::xid))`)); err != nil {
		return err
	}
	for n := int64(trimChunk); n == trimChunk; {
		tag, err := pool.Exec(ctx, s.q(`delete from @@.versions where ctid = any (array(select v.ctid from @@.versions v
			join @@.floors f on f.namespace = v.namespace where v.deleted
				and v.version <= f.floor limit $1 for update of v skip locked))`), trimChunk)
		if err != nil {
			return err
		}
		n = tag.RowsAffected()
	}
	_, err := pool.Exec(ctx,
		s.q(`with many as (select namespace from @@.versions where deleted group by namespace having count(*) >= $1)
		insert into @@.floors as f (namespace, next_floor) select v.namespace, max(v.version) from @@.versions v
			where v.deleted and v.namespace in (select namespace from many) group by v.namespace
		on conflict (namespace) do update set next_floor = excluded.next_floor, raised = excluded.raised
			where f.floor = f.next_floor and excluded.next_floor > f.next_floor`), sweepFrom)
	return err
}

// sweepTruncated removes the version rows that a truncate of many rows made needless: those that are not above its
// version, which readers and writers go by instead. It passes over the namespace in the order of keys, some pages at a
// time. A row that a writer is about to change is above that version afterwards, so it may be left out.
func (s *Source) sweepTruncated(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, s.q(`delete from @@.truncates x where exists (select from @@.truncates y
		where y.namespace = x.namespace and y.version > x.version)`)); err != nil {
		return err
	}
	for range sweepPages {
		tag, err := pool.Exec(ctx, s.q(`with here as (select x.namespace, x.version, x.swept_to from @@.truncates x
				where not x.swept order by 1, 2 limit 1),
			page as (select v.* from here, lateral (select v.ctid as at, v.key, v.version <= here.version as needless
				from @@.versions v where v.namespace = here.namespace and v.key >= here.swept_to
				order by v.namespace, v.key limit $1) v),
			gone as (delete from @@.versions where ctid = any (array(select v.ctid from @@.versions v
				where v.ctid = any (array(select at from page where needless)) and v.version <= (select version from here)
				for update skip locked)))
			update @@.truncates x set swept_to = coalesce((select max(key) from page), ''),
				swept = (select count(*) < $1 from page)
			from here where x.namespace = here.namespace and x.version = here.version`), trimChunk)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
	}
	return nil
}
