package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
)

// Trigger says which table's rows are keys of a namespace.
type Trigger struct {
	Table     string // the table, with its schema if it is not on the search path; required
	Namespace string // required
	// KeyColumns make up the key; coherence.CompositeKey joins several. It must be the name that the cache's EncodeKey
	// gives. The package documentation says how each type is written. The columns must be not null, and unique together
	// unless SharedKeys is set. Required.
	KeyColumns []string
	// Columns are what the cache shows: an update that changes none of them, and not the key, does not count. Defaults to
	// all columns. An update that changes nothing never counts.
	Columns []string
	// SharedKeys allows several rows with one key, such as the lines of an order: a change of any of them counts for the
	// key. Writers of one key then wait for each other until commit, and transactions of several statements may deadlock
	// unless all write the keys in one order.
	SharedKeys bool
}

// TriggerSQL is the statement that InstallTrigger runs, for whoever runs it by hand.
func (s *Source) TriggerSQL(t Trigger) (string, error) {
	if t.Table == "" || t.Namespace == "" || len(t.KeyColumns) == 0 {
		return "", errors.New("postgres: trigger: Table, Namespace and KeyColumns are required")
	}
	if err := coherence.CheckName(t.Namespace); err != nil {
		return "", fmt.Errorf("postgres: trigger: namespace %q %w", t.Namespace, err)
	}
	if strings.ContainsRune(t.Table+t.Namespace+strings.Join(t.KeyColumns, "")+strings.Join(t.Columns, ""), 0) {
		return "", errors.New("postgres: trigger: a name has a NUL in it")
	}
	return s.q("select @@.install_trigger(") + literal(regclass(t.Table)) + ", " + literal(t.Namespace) + ", " +
		array(t.KeyColumns) + ", " +
		array(t.Columns) + fmt.Sprintf(", %v)", t.SharedKeys), nil
}

// InstallTrigger makes every change of a table's rows count a version and write the outbox, whoever makes it: inserts,
// updates, deletes, and a truncate, which counts every row. An update that changes the key is a delete and an insert.
// Rows that are there already have version 1, or the namespace's floor, until they change. A table may have triggers
// of several namespaces, and a namespace triggers on several tables.
//
// A statement counts once for each key, for all of its rows together, and locks keys in the order of their bytes. A
// session in the replica role, and a logical subscription, counts row by row. After an upgrade of this package call
// InstallTrigger again: until then the triggers of the version before go on counting.
//
// Nothing is done, and no lock is taken, when the same trigger is there already. Otherwise the table is locked against
// writers for a moment, after waiting for them in the way of Config.LockTimeout. The role must own the table, or be a
// superuser, and have all rights on the Source's schema.
func (s *Source) InstallTrigger(ctx context.Context, t Trigger) error {
	sql, err := s.TriggerSQL(t)
	if err != nil {
		return err
	}
	return s.fault("trigger on "+t.Table, s.patiently(ctx, "table "+t.Table, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	}))
}

// RemoveTrigger removes what InstallTrigger made for a table and a namespace. Versions stay.
func (s *Source) RemoveTrigger(ctx context.Context, t Trigger) error {
	return s.fault("trigger on "+t.Table, s.patiently(ctx, "table "+t.Table, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, s.q(`select @@.remove_trigger($1, $2)`), regclass(t.Table), t.Namespace)
		return err
	}))
}

// Check finds triggers that are missing or do not fire, and key columns that changed. It reads catalogs only.
func (s *Source) Check(ctx context.Context) ([]coherence.Finding, error) {
	found, err := s.check(ctx)
	return found, s.fault("check", err)
}

func (s *Source) check(ctx context.Context) ([]coherence.Finding, error) {
	pool, err := s.feed()
	if err != nil {
		return nil, err
	}
	version, _, err := s.installed(ctx, pool)
	switch {
	case err != nil:
		return nil, err
	case version == 0:
		return nil, fmt.Errorf("schema %s: %w", s.schema, ErrNotInstalled)
	case version != len(migrations):
		return []coherence.Finding{{Code: coherence.FindingSchemaVersion, Subject: s.schema,
			Text: fmt.Sprintf("schema %s has version %d and the program knows %d: call Install of the newer program",
				s.schema, version, len(migrations))}}, nil
	}
	rows, err := pool.Query(ctx, s.q(`select code, table_name, namespace, detail from @@.check() order by 1, 2, 3, 4`))
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, finding)
	if err != nil {
		return nil, err
	}
	rows, err = pool.Query(ctx, s.q(`select $1::text, t.relation::regclass::text, t.namespace,
			'the collation ' || l.collname || ' of key column ' || a.attname || ' calls several texts equal, so a row is '
			|| 'found by keys that are not counted: give the column another collation'
		from @@.triggers t join pg_attribute a on a.attrelid = t.relation and a.attnum = any (t.key_numbers)
			join pg_collation l on l.oid = a.attcollation and not l.collisdeterministic order by 2, 3, 4`),
		coherence.FindingKeyColumnChanged)
	if err != nil {
		return nil, err
	}
	equal, err := pgx.CollectRows(rows, finding)
	return append(found, equal...), err
}

// finding is a row of a code, a table, a namespace and what is wrong.
func finding(row pgx.CollectableRow) (f coherence.Finding, err error) {
	var detail string
	if err := row.Scan(&f.Code, &f.Subject, &f.Namespace, &detail); err != nil {
		return f, err
	}
	f.Text = detail
	if f.Subject != "" {
		f.Text = fmt.Sprintf("table %s, namespace %s: %s", f.Subject, f.Namespace, detail)
	}
	return f, nil
}

// regclass is a table's name as SQL writes it. "a.b" is table b of schema a; a name with a quote in it is taken as it
// is.
func regclass(table string) string {
	if strings.Contains(table, `"`) {
		return table
	}
	return pgx.Identifier(strings.Split(table, ".")).Sanitize()
}

func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

func array(list []string) string {
	if len(list) == 0 {
		return "'{}'"
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = literal(s)
	}
	return "array[" + strings.Join(out, ", ") + "]"
}
