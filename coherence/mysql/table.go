package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// table is what the catalog says of one.
type table struct {
	schema, name string
	columns      []column
}

type column struct {
	name, dataType, columnType, collation string
	nullable                              bool
}

func (d *table) ident() string { return ident(d.schema) + "." + ident(d.name) }

// column finds a column that describe has found.
func (d *table) column(name string) *column {
	i := slices.IndexFunc(d.columns, func(c column) bool { return strings.EqualFold(c.name, name) })
	if i < 0 {
		return nil
	}
	return &d.columns[i]
}

// describe reads a table's columns and indexes, and refuses what the triggers could not count rightly.
func (s *Source) describe(ctx context.Context, db querier, t Trigger) (*table, error) {
	if t.Table == "" || t.Namespace == "" || len(t.KeyColumns) == 0 {
		return nil, errors.New("the fields Table, Namespace and KeyColumns are required")
	}
	if err := coherence.CheckName(t.Namespace); err != nil {
		return nil, fmt.Errorf("namespace %q %w", t.Namespace, err)
	}
	schema, name, err := split(ctx, db, t.Table)
	if err != nil {
		return nil, err
	}
	d := &table{schema: schema, name: name}
	var kind, engine string
	found, err := pairs(ctx, db, `select table_type, coalesce(engine, '') from information_schema.tables
		where table_schema = ? and table_name = ?`, schema, name)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no table %s, or the account may not see it", d.ident())
	}
	kind, engine = found[0][0], found[0][1]
	if kind != "BASE TABLE" {
		return nil, fmt.Errorf("%s is a %s; install the trigger on the tables that it reads", name, strings.ToLower(kind))
	}
	if !strings.EqualFold(engine, "InnoDB") {
		return nil, fmt.Errorf("its engine is %s, whose changes a rollback does not take back: use InnoDB", engine)
	}
	if err := d.readColumns(ctx, db); err != nil {
		return nil, err
	}
	if err := d.accept(t); err != nil {
		return nil, err
	}
	if err := d.refuseCascades(ctx, db); err != nil {
		return nil, err
	}
	return d, d.requireUnique(ctx, db, t)
}

func (d *table) readColumns(ctx context.Context, db querier) error {
	rows, err := db.QueryContext(ctx, `select column_name, data_type, column_type, coalesce(collation_name, ''),
		is_nullable = 'YES' from information_schema.columns where table_schema = ? and table_name = ?
		order by ordinal_position`, d.schema, d.name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.dataType, &c.columnType, &c.collation, &c.nullable); err != nil {
			return err
		}
		d.columns = append(d.columns, c)
	}
	return rows.Err()
}

// accept refuses columns that are not there, and keys of which one row would have several names.
func (d *table) accept(t Trigger) error {
	if err := d.has(t.Columns); err != nil {
		return err
	}
	return d.acceptKeys(t.KeyColumns)
}

func (d *table) has(columns []string) error {
	for _, name := range columns {
		if d.column(name) == nil {
			var names []string
			for _, c := range d.columns {
				names = append(names, c.name)
			}
			return fmt.Errorf("the table has no column %q; it has %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

func (d *table) acceptKeys(columns []string) error {
	if err := d.has(columns); err != nil {
		return err
	}
	for _, name := range columns {
		c := d.column(name)
		if why := c.refused(); why != "" {
			return fmt.Errorf("key column %s is %s: %s", c.name, c.columnType, why)
		}
		if c.nullable {
			return fmt.Errorf("key column %s may be null: a row without a key would not be counted; make it not null",
				c.name)
		}
	}
	return nil
}

// refused says why a column cannot be part of a key, "" if it can.
func (c *column) refused() string {
	switch c.dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "date", "datetime", "time", "year", "binary", "varbinary",
		"uuid", "inet4", "inet6":
		return ""
	case "decimal":
		if strings.Contains(c.columnType, "zerofill") {
			return "zerofill adds digits to its text; use a column without it"
		}
		return ""
	case "char", "varchar", "enum":
		if !strings.HasSuffix(c.collation, "_bin") {
			return "its collation " + c.collation + " finds one row by several spellings, and a cache knows it by one; " +
				"use a collation that ends in _bin"
		}
		return ""
	case "timestamp":
		return "its text depends on the session's time zone; use datetime"
	case "float", "double":
		return "its text is rounded; use decimal"
	}
	return "it has no text that Go and SQL would agree on"
}

// textSQL is the text of a key column's value as bytes, as docs/guides/mysql.md says.
func (c *column) textSQL(row string) string {
	value := row + "." + ident(c.name)
	switch c.dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint": // a cast, for the digits that zerofill adds
		kind := "signed"
		if strings.Contains(c.columnType, "unsigned") {
			kind = "unsigned"
		}
		return "cast(convert(cast(" + value + " as " + kind + ") using utf8mb4) as binary)"
	case "char": // by the sql_mode PAD_CHAR_TO_FULL_LENGTH it has blanks at its end, of which it stores none
		return "cast(trim(trailing ' ' from convert(" + value + " using utf8mb4)) as binary)"
	case "binary", "varbinary":
		return "concat(x'5C78', cast(convert(lower(hex(" + value + ")) using utf8mb4) as binary))"
	}
	return "cast(convert(" + value + " using utf8mb4) as binary)"
}

// differs is the condition under which an update has changed the column. Text is compared by its bytes: for a collation
// without case "a" and "A" are equal, and a cache shows them.
func (c *column) differs() string {
	before, after := "old."+ident(c.name), "new."+ident(c.name)
	if c.collation != "" {
		before, after = "cast("+before+" as binary)", "cast("+after+" as binary)"
	}
	return "not (" + before + " <=> " + after + ")"
}

// keySQL is the name of a row's key, as coherence.CompositeKey makes it. Bytes are written in hexadecimal, since what a
// backslash means in a text depends on the sql_mode.
func (d *table) keySQL(row string, columns []string) string {
	if len(columns) == 1 {
		return d.column(columns[0]).textSQL(row)
	}
	var parts []string
	for _, name := range columns {
		parts = append(parts, "replace(replace("+d.column(name).textSQL(row)+", x'5C', x'5C5C'), x'3A', x'5C3A')")
	}
	return "concat(" + strings.Join(parts, ", x'3A', ") + ")"
}

// refuseCascades refuses foreign keys by which the server changes rows of the table and fires no trigger.
func (d *table) refuseCascades(ctx context.Context, db querier) error {
	names, err := oneColumn[string](ctx, db, `select constraint_name from information_schema.referential_constraints
		where constraint_schema = ? and table_name = ?
			and (delete_rule not in ('RESTRICT', 'NO ACTION') or update_rule not in ('RESTRICT', 'NO ACTION'))`,
		d.schema, d.name)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("foreign key %s changes rows when the table that it refers to changes, and the server fires no "+
			"trigger for that: use RESTRICT, and delete or update the rows by a statement", strings.Join(names, ", "))
	}
	return err
}

// requireUnique refuses a key that several rows may have, unless that is wanted.
func (d *table) requireUnique(ctx context.Context, db querier, t Trigger) error {
	if t.SharedKeys {
		return nil
	}
	found, err := pairs(ctx, db, `select index_name, coalesce(column_name, '') from information_schema.statistics
		where table_schema = ? and table_name = ? and non_unique = 0 order by index_name, seq_in_index`, d.schema, d.name)
	if err != nil {
		return err
	}
	indexes := map[string]bool{}
	for _, f := range found {
		inside, seen := indexes[f[0]]
		indexes[f[0]] = (inside || !seen) && contains(t.KeyColumns, f[1])
	}
	for _, inside := range indexes {
		if inside {
			return nil
		}
	}
	return fmt.Errorf("the key (%s) is not unique; add a unique index, or set SharedKeys if several rows make up a value",
		strings.Join(t.KeyColumns, ", "))
}

// pairs runs a query of two columns of text.
func pairs(ctx context.Context, db querier, query string, args ...any) (out [][2]string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p [2]string
		if err := rows.Scan(&p[0], &p[1]); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
