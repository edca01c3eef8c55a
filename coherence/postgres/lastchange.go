package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/nearcache/nearcache-go/coherence"
)

var _ coherence.Accountant = (*Source)(nil)

// LastChange compares the transaction that wrote a key's row with the one that counted its version: the trigger works
// in the writer's transaction, so they are the same. It reads one row by its key columns, and needs the right to select
// from the table. It is ChangeUnknown where that proves nothing: without a trigger, with several of the namespace, with
// Trigger.SharedKeys, and with Trigger.Columns where an update of another column may have been the last one.
//
// An update that changes nothing writes the row and counts no version. So ask only about a row whose value is another
// one than was cached.
func (s *Source) LastChange(ctx context.Context, namespace, key string) (coherence.LastChange, error) {
	t, ok, err := s.counted(ctx, namespace)
	if err != nil || !ok {
		return coherence.LastChange{}, s.fault(fmt.Sprintf("last change of %s %q", namespace, key), err)
	}
	parts, ok := coherence.SplitKey(key, len(t.columns))
	if !ok {
		return coherence.LastChange{}, nil
	}
	c, err := s.lastChange(ctx, &t, namespace, key, parts)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22") {
		return coherence.LastChange{Detail: "the key is no value of the key columns' types"}, nil
	}
	return c, s.fault(fmt.Sprintf("last change of %s %q", namespace, key), err)
}

// countedTable is the table whose trigger counts a namespace.
type countedTable struct {
	name, key string // key is the expression for a row's key, of a row called r
	columns   []string
	types     []string
	filtered  bool // some columns do not count
}

// counted is the only table of a namespace; ok is false if there is another number of them.
func (s *Source) counted(ctx context.Context, namespace string) (t countedTable, ok bool, err error) {
	rows, err := s.pool.Query(ctx, s.q(`select t.relation::regclass::text,
			@@.key_sql(t.relation, t.relation, t.key_columns, t.key_numbers, 'r'), t.key_columns,
			array(select format_type(a.atttypid, a.atttypmod) from unnest(t.key_columns) with ordinality u(name, i)
				join pg_attribute a on a.attrelid = t.relation and a.attname = u.name order by u.i),
			cardinality(t.columns) > 0
		from @@.triggers t join pg_class c on c.oid = t.relation where t.namespace = $1 and not t.shared limit 2`), namespace)
	if err != nil {
		return t, false, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t countedTable, err error) {
		err = row.Scan(&t.name, &t.key, &t.columns, &t.types, &t.filtered)
		return t, err
	})
	if err != nil || len(all) != 1 || len(all[0].columns) != len(all[0].types) {
		return t, false, err
	}
	return all[0], true, nil
}

// lastChange looks at the row and at its version in one snapshot.
func (s *Source) lastChange(ctx context.Context, t *countedTable, namespace, key string,
	parts []string) (c coherence.LastChange, err error) {
	args := []any{namespace, key}
	var where []string
	for i, col := range t.columns {
		args = append(args, parts[i])
		where = append(where, fmt.Sprintf("r.%s = $%d::text::%s", pgx.Identifier{col}.Sanitize(), len(args), t.types[i]))
	}
	var name, rowBy, versionBy *string
	var deleted *bool
	var sinceFloor bool
	err = s.pool.QueryRow(ctx, s.q(`with of_row as (select r.xmin as by, `+t.key+` as k from `+t.name+` r where `+
		strings.Join(where, " and ")+` limit 1),
		of_version as (select v.xmin as by, v.deleted from @@.versions v
			where v.namespace = $1 and v.key = @@.stored_key($2))
		select (select k from of_row), (select by::text from of_row), (select by::text from of_version),
			(select deleted from of_version), coalesce((select age(o.by) < age(f.raised::xid) from of_row o, @@.floors f
				where f.namespace = $1), true)`), args...).Scan(&name, &rowBy, &versionBy, &deleted, &sinceFloor)
	if err != nil {
		return c, err
	}
	if name != nil {
		c.Key = *name
	}
	outcome := func(o coherence.ChangeOutcome, detail string, args ...any) (coherence.LastChange, error) {
		c.Outcome, c.Detail = o, fmt.Sprintf(detail, args...)
		return c, nil
	}
	switch {
	case name != nil && *name != key:
		return outcome(coherence.ChangeUnknown, "the row is counted as %q", *name)
	case rowBy == nil && versionBy == nil:
		return c, nil
	case rowBy == nil && *deleted:
		return outcome(coherence.ChangeCounted, "its deletion was counted")
	case rowBy == nil:
		return outcome(coherence.ChangeUncounted, "there is no row in %s, and its deletion was not counted", t.name)
	case versionBy == nil && sinceFloor:
		return outcome(coherence.ChangeUncounted, "transaction %s wrote the row of %s after the trigger was installed, and "+
			"no version of it was ever counted", *rowBy, t.name)
	case versionBy == nil:
		return outcome(coherence.ChangeCounted, "the row has not changed since the trigger was installed")
	case *deleted:
		return outcome(coherence.ChangeUncounted, "transaction %s inserted the row of %s again, and the last version counts "+
			"its deletion", *rowBy, t.name)
	case *rowBy == *versionBy:
		return outcome(coherence.ChangeCounted, "transaction %s wrote the row and counted its version", *rowBy)
	case t.filtered:
		return outcome(coherence.ChangeUnknown, "transaction %s wrote the row, and some columns of it do not count", *rowBy)
	}
	return outcome(coherence.ChangeUncounted, "transaction %s wrote the row of %s, and the last version was counted by "+
		"transaction %s", *rowBy, t.name, *versionBy)
}
