package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// Trigger says which table's rows are keys of a namespace.
type Trigger struct {
	Table     string // required
	Namespace string // required
	// KeyColumns make up the key; coherence.CompositeKey joins several. It must be the name that the cache's EncodeKey
	// gives. A blob is written as \x and hexadecimal digits. A row with a null among them has no key and is not counted.
	// Required.
	KeyColumns []string
	// Columns are what the cache shows: an update that changes none of them, and not the key, does not count. Defaults to
	// counting every update.
	Columns []string
	// SharedKeys allows several rows with one key, such as the lines of an order: a change of any of them counts for the
	// key. Without it the key columns must be unique.
	SharedKeys bool
}

// InstallTrigger makes every change of a table's rows count a version and write the outbox, whoever makes it: inserts,
// updates, deletes, and rows that REPLACE removes. An update that changes the key is a delete and an insert. Rows that
// are there already have version 1, or the namespace's floor, until they change. A table may have triggers of several
// namespaces, and a namespace triggers on several tables. Nothing is done when the same trigger is there already.
func (s *Source) InstallTrigger(ctx context.Context, t Trigger) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		table, err := describe(ctx, tx, t)
		if err != nil {
			return err
		}
		if err := s.raise(ctx, tx, t, table); err != nil {
			return err
		}
		return s.install(ctx, tx, t, s.triggers(t, table))
	})
	if err != nil {
		return fault("trigger on "+t.Table, err)
	}
	return nil
}

// raise gives the rows that are older than a namespace's first trigger a version, 1, which the next change exceeds.
func (s *Source) raise(ctx context.Context, tx *sql.Tx, t Trigger, table *table) error {
	_, err := tx.ExecContext(ctx, s.q(`insert into @@floors select ?1, 1 where exists (select 1 from `+ident(table.name)+`)
		and not exists (select 1 from @@triggers where table_name = ?2 and namespace = ?1)
		on conflict (namespace) do update set floor = max(floor, 1)`), t.Namespace, t.Table)
	return err
}

// RemoveTrigger removes what InstallTrigger made for a table and a namespace. Versions stay.
func (s *Source) RemoveTrigger(ctx context.Context, t Trigger) error {
	return fault("trigger on "+t.Table, s.transact(ctx, func(tx *sql.Tx) error { return s.install(ctx, tx, t, nil) }))
}

// part is one of the triggers that make up a Trigger.
type part struct{ suffix, name, body string }

// install replaces the parts that differ from what is there.
func (s *Source) install(ctx context.Context, tx *sql.Tx, t Trigger, parts []part) error {
	there, err := s.parts(ctx, tx, t)
	if err != nil {
		return err
	}
	for _, p := range there {
		if slices.Contains(parts, p) {
			continue
		}
		if _, err := tx.ExecContext(ctx, "drop trigger if exists "+ident(p.name)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.q(`delete from @@triggers where table_name = ? and namespace = ? and suffix = ?`),
			t.Table, t.Namespace, p.suffix); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if slices.Contains(there, p) {
			continue
		}
		for _, query := range []string{"drop trigger if exists " + ident(p.name), "create trigger " + ident(p.name) + " " +
			p.body} {
			if _, err := tx.ExecContext(ctx, query); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, s.q(`insert into @@triggers values (?, ?, ?, ?, ?)`), t.Table, t.Namespace,
			p.suffix, p.name, p.body); err != nil {
			return err
		}
	}
	return nil
}

// parts are the triggers that are registered and there.
func (s *Source) parts(ctx context.Context, tx *sql.Tx, t Trigger) (out []part, err error) {
	rows, err := tx.QueryContext(ctx,
		s.q(`select r.suffix, case when m.name is null then '' else r.name end, r.body from @@triggers r
		left join sqlite_master m on m.type = 'trigger' and m.name = r.name where r.table_name = ?
			and r.namespace = ?`), t.Table, t.Namespace)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p part
		if err := rows.Scan(&p.suffix, &p.name, &p.body); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// triggers are the statements for a table. Each counts the keys first and then writes the outbox.
func (s *Source) triggers(t Trigger, table *table) []part {
	ns := literal(t.Namespace)
	count := func(key, op string) string {
		return s.q(countSQL(ns, "select "+key+" as k", "'"+op+"' = 'deleted'") + outboxSQL(ns, "= "+key, "'"+op+"'"))
	}
	newKey, oldKey := keySQL("new", t.KeyColumns), keySQL("old", t.KeyColumns)
	on := ident(table.name)
	renamed := "(" + oldKey + ") is not (" + newKey + ")"
	updated := ""
	for i, c := range t.Columns {
		updated += []string{" and (", " or "}[min(i, 1)] + "old." + ident(c) + " is not new." + ident(c)
	}
	if updated != "" {
		updated += ")"
	}
	bodies := []part{
		{suffix: "insert", body: "after insert on " + on + " begin " + count(newKey, "created") + "end"},
		{suffix: "delete", body: "after delete on " + on + " begin " + count(oldKey, "deleted") + "end"},
		{suffix: "update", body: "after update on " + on + " when not (" + renamed + ")" + updated + " begin " +
			count(newKey, "updated") + "end"},
		{suffix: "rename", body: "after update on " + on + " when " + renamed + " begin " + count(oldKey, "deleted") +
			count(newKey, "created") + "end"},
	}
	bodies = append(bodies, s.replaced(t, table)...)
	for i := range bodies {
		bodies[i].name = s.prefix + table.name + "_" + t.Namespace + "_" + bodies[i].suffix
	}
	return bodies
}

// replaced counts the rows that REPLACE removes: those that conflict by a unique index, for which no trigger fires. Rows
// that conflict by an index with all key columns have the key of the new row, which is counted anyway. Most rows
// conflict with none, so a trigger looks for one first; and an update conflicts only if it changes the index's columns.
func (s *Source) replaced(t Trigger, table *table) (parts []part) {
	ns, on := literal(t.Namespace), ident(table.name)
	key, newKey := keySQL("o", t.KeyColumns), keySQL("new", t.KeyColumns)
	for i, unique := range table.uniques {
		if holds(unique, t.KeyColumns) {
			continue
		}
		var match, changed []string
		for _, c := range unique {
			match = append(match, "o."+c.name+" = new."+c.name+c.collate)
			changed = append(changed, "old."+c.name+" is not new."+c.name+binary)
		}
		others := " from " + on + " o where " + strings.Join(match, " and ") + " and (" + key + ") is not (" + newKey + ")"
		add := func(suffix, event, when, others string) {
			keys := "select distinct " + key + " as k" + others
			parts = append(parts, part{suffix: fmt.Sprintf("%s_%d", suffix, i), body: "before " + event + " on " + on + " when " +
				when + "exists (select 1" + others + ") begin " +
				s.q(countSQL(ns, keys, "false")+outboxSQL(ns, "in ("+keys+")", "'updated'")) + "end"})
		}
		add("replace", "insert", "", others)
		add("replace_update", "update", "("+strings.Join(changed, " or ")+") and ",
			others+" and ("+key+") is not ("+keySQL("old", t.KeyColumns)+")")
	}
	return parts
}

// holds reports whether rows that are equal by an index are equal in all of some columns.
func holds(index []column, columns []string) bool {
	return !slices.ContainsFunc(columns, func(k string) bool {
		return !slices.ContainsFunc(index, func(c column) bool {
			return strings.EqualFold(ident(k), c.name) && (c.collate == "" || c.collate == binary)
		})
	})
}

// keySQL is the name of a row's key, as coherence.CompositeKey makes it; null if a part is null.
func keySQL(row string, columns []string) string {
	var parts []string
	for _, c := range columns {
		value := row + "." + ident(c)
		text := `case typeof(` + value + `) when 'blob' then '\x' || lower(hex(` + value + `)) else cast(` + value +
			` as text) end`
		if len(columns) > 1 {
			text = `replace(replace(` + text + `, '\', '\\'), ':', '\:')`
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " || ':' || ")
}

// table is what the catalog says of one.
type table struct {
	name    string
	uniques [][]column
}

// column is one of a unique index, quoted.
type column struct{ name, collate string }

// describe reads a table's columns and unique indexes, and refuses what the triggers could not count rightly.
func describe(ctx context.Context, tx *sql.Tx, t Trigger) (*table, error) {
	if t.Table == "" || t.Namespace == "" || len(t.KeyColumns) == 0 {
		return nil, errors.New("trigger: Table, Namespace and KeyColumns are required")
	}
	if err := coherence.CheckName(t.Namespace); err != nil {
		return nil, fmt.Errorf("namespace %q %w", t.Namespace, err)
	}
	var d table
	var kind string
	err := tx.QueryRowContext(ctx,
		`select name, type from sqlite_master where name = ? collate nocase and type in ('table', 'view')`,
		t.Table).Scan(&d.name, &kind)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("there is no table %q", t.Table)
	}
	if err != nil {
		return nil, err
	}
	if kind != "table" {
		return nil, fmt.Errorf("%s is a %s; install the trigger on the tables that it reads", d.name, kind)
	}
	columns, err := texts(ctx, tx, `select name from pragma_table_xinfo(?)`, d.name)
	if err != nil {
		return nil, err
	}
	for _, c := range slices.Concat(t.KeyColumns, t.Columns) {
		if !containsFold(columns, c) {
			return nil, fmt.Errorf("the table has no column %q; it has %s", c, strings.Join(columns, ", "))
		}
	}
	if err := d.readUniques(ctx, tx); err != nil {
		return nil, err
	}
	if index, ok := d.unique(t.KeyColumns); ok && slices.ContainsFunc(index,
		func(c column) bool { return c.collate != "" && c.collate != binary }) {
		return nil,
			fmt.Errorf("the key (%s) is compared by another collation than BINARY: one row would have several names; "+
				"use a column that holds one spelling", strings.Join(t.KeyColumns, ", "))
	} else if !ok && !t.SharedKeys {
		return nil, fmt.Errorf("the key (%s) is not unique; add a unique index, or set SharedKeys if several rows make up "+
			"a value",
			strings.Join(t.KeyColumns, ", "))
	}
	return &d, nil
}

func (d *table) readUniques(ctx context.Context, tx *sql.Tx) error {
	integer, err := texts(ctx, tx, `select name from pragma_table_xinfo(?) where pk = 1 and upper(type) = 'INTEGER'
		and (select max(pk) from pragma_table_xinfo(?)) = 1`, d.name, d.name)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "select rowid from "+ident(d.name)+" limit 0"); err == nil {
		rowid := "rowid"
		if len(integer) == 1 {
			rowid = ident(integer[0])
		}
		d.uniques = append(d.uniques, []column{{name: rowid}})
	}
	indexes, err := texts(ctx, tx, `select name from pragma_index_list(?) where "unique" order by name`, d.name)
	if err != nil {
		return err
	}
	for _, index := range indexes {
		unique, err := indexColumns(ctx, tx, index)
		if err != nil {
			return err
		}
		d.uniques = append(d.uniques, unique)
	}
	return nil
}

func indexColumns(ctx context.Context, tx *sql.Tx, index string) (out []column, err error) {
	rows, err := tx.QueryContext(ctx,
		`select coalesce(name, ''), coalesce(coll, 'BINARY') from pragma_index_xinfo(?) where key order by seqno`, index)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, collation string
		if err := rows.Scan(&name, &collation); err != nil {
			return nil, err
		}
		if name == "" {
			return nil, fmt.Errorf("unique index %s has an expression: rows that REPLACE removes because of it could not be "+
				"counted", index)
		}
		out = append(out, column{name: ident(name), collate: " collate " + collation})
	}
	return out, rows.Err()
}

// binary is the collation under which equal keys have equal names.
const binary = " collate BINARY"

// unique returns a unique index that has no column but these.
func (d *table) unique(columns []string) ([]column, bool) {
	for _, index := range d.uniques {
		if !slices.ContainsFunc(index, func(c column) bool {
			return !slices.ContainsFunc(columns, func(k string) bool { return strings.EqualFold(ident(k), c.name) })
		}) {
			return index, true
		}
	}
	return nil, false
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(l string) bool { return strings.EqualFold(l, s) })
}

func texts(ctx context.Context, tx *sql.Tx, query string, args ...any) (out []string, err error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// Check finds triggers that were dropped, by hand or with their table.
func (s *Source) Check(ctx context.Context) ([]coherence.Finding, error) {
	rows, err := s.db.QueryContext(ctx, s.q(`select r.table_name, r.namespace, min(t.name is not null) from @@triggers r
		left join sqlite_master m on m.type = 'trigger' and m.name = r.name
		left join sqlite_master t on t.type = 'table' and t.name = r.table_name
		where m.name is null group by 1, 2 order by 1, 2`))
	if err != nil {
		return nil, fault("check", err)
	}
	defer rows.Close()
	var found []coherence.Finding
	for rows.Next() {
		f := coherence.Finding{Code: coherence.FindingTriggerMissing}
		var there bool
		if err := rows.Scan(&f.Subject, &f.Namespace, &there); err != nil {
			return nil, fault("check", err)
		}
		f.Text = fmt.Sprintf("a trigger of namespace %s on table %s was dropped: call InstallTrigger again", f.Namespace,
			f.Subject)
		if !there {
			f.Code = coherence.FindingTableMissing
			f.Text = fmt.Sprintf("table %s of namespace %s is gone: create it and call InstallTrigger again, or call "+
				"RemoveTrigger", f.Subject, f.Namespace)
		}
		found = append(found, f)
	}
	return found, fault("check", rows.Err())
}
