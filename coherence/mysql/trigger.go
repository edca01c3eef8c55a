package mysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/nearcache/nearcache-go/coherence"
)

// Trigger says which table's rows are keys of a namespace.
type Trigger struct {
	Table     string // the table, with its database and a dot before it if that is not the connection's own; required
	Namespace string // required
	// KeyColumns make up the key; coherence.CompositeKey joins several. It must be the name that the cache's EncodeKey
	// gives. docs/guides/mysql.md says how each type is written, and which are refused. The columns must be not null, and
	// unique together unless SharedKeys is set. Required.
	KeyColumns []string
	// Columns are what the cache shows: an update that changes none of them, and not the key, does not count. Defaults to
	// all updates, also those that change nothing.
	Columns []string
	// SharedKeys allows several rows with one key, such as the lines of an order: a change of any of them counts for the
	// key. Writers of one key then wait for each other until commit.
	SharedKeys bool
}

// events are what triggers fire for.
var events = []string{"insert", "update", "delete"}

// part is one of the triggers that make up a Trigger.
type part struct{ event, name, sql string }

// TriggerSQL are the statements that InstallTrigger would run now, for whoever runs them by hand. They depend on the
// types of the table's columns.
func (s *Source) TriggerSQL(ctx context.Context, t Trigger) ([]string, error) {
	table, err := s.describe(ctx, s.db, t)
	if err != nil {
		return nil, s.fault("trigger on "+t.Table, err)
	}
	var out []string
	for _, p := range s.parts(t, table) {
		out = append(out, p.sql)
	}
	return out, nil
}

// InstallTrigger makes every change of a table's rows count a version and write the outbox, whoever makes it. Rows that
// are there already have version 1, or the namespace's floor, until they change. A table may have triggers of several
// namespaces, and a namespace triggers on several tables. After an upgrade of this package, and after ALTER TABLE, call
// it again.
//
// A trigger that is replaced counts until the new one does; changes in between count twice. Install it before a cache
// reads the table. The server has three triggers for a Trigger, and they are complete when InstallTrigger returns.
//
// Each trigger waits for transactions that use the table, for one second at a time and a minute at most, since whoever
// comes later has to wait too. The account needs the right TRIGGER on the table, and all rights on the source's
// database. It must stay: triggers run as the account that made them.
func (s *Source) InstallTrigger(ctx context.Context, t Trigger) error {
	return s.fault("trigger on "+t.Table, s.alone(ctx, func(ctx context.Context, conn *sql.Conn) error {
		table, err := s.describe(ctx, conn, t)
		if err != nil {
			return err
		}
		return s.replace(ctx, conn, t, table, s.parts(t, table))
	}))
}

// RemoveTrigger removes what InstallTrigger made for a table and a namespace. Versions stay.
func (s *Source) RemoveTrigger(ctx context.Context, t Trigger) error {
	return s.fault("trigger on "+t.Table, s.alone(ctx, func(ctx context.Context, conn *sql.Conn) error {
		schema, name, err := split(ctx, conn, t.Table)
		if err != nil {
			return err
		}
		return s.replace(ctx, conn, t, &table{schema: schema, name: name}, nil)
	}))
}

// replace makes the triggers that are missing, and then drops those that no part stands for.
func (s *Source) replace(ctx context.Context, conn *sql.Conn, t Trigger, table *table, parts []part) error {
	keys, err := json.Marshal(t.KeyColumns)
	if err != nil {
		return err
	}
	there, err := oneColumn[string](ctx, conn, `select trigger_name from information_schema.triggers
		where trigger_schema = ? and event_object_table = ? and trigger_name like ?`, table.schema, table.name,
		strings.ReplaceAll(stem(t, table), "_", `\_`)+"%")
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, p := range parts {
		wanted[p.name] = true
		if !contains(there, p.name) {
			if err := patiently(ctx, conn, p.sql); err != nil {
				return err
			}
		}
		_, err := conn.ExecContext(ctx, s.q(`call {db}.note_trigger(?, ?, ?, ?, ?, ?)`), table.schema, table.name,
			t.Namespace, p.event, p.name, string(keys))
		if err != nil {
			return err
		}
	}
	for _, name := range there {
		if wanted[name] {
			continue
		}
		if err := patiently(ctx, conn, "drop trigger if exists "+ident(table.schema)+"."+ident(name)); err != nil {
			return err
		}
	}
	if len(parts) == 0 {
		_, err := conn.ExecContext(ctx, s.q(`delete from {db}.triggers where table_schema = ? and table_name = ?
			and namespace = ?`), table.schema, table.name, t.Namespace)
		return err
	}
	return s.raise(ctx, conn, t, table)
}

// raise gives the rows that are older than a namespace's trigger a version, 1, which every change exceeds.
func (s *Source) raise(ctx context.Context, conn *sql.Conn, t Trigger, table *table) error {
	_, err := conn.ExecContext(ctx, s.q(`insert into {db}.floors (namespace, floor)
		select ?, 1 from (select 1 from `+table.ident()+` limit 1) filled
		on duplicate key update floor = greatest(floor, 1)`), t.Namespace)
	return err
}

// patiently runs a statement that needs the table for itself. Each attempt waits for a second, by the session's
// lock_wait_timeout, and then lets others have their turn.
func patiently(ctx context.Context, conn *sql.Conn, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		_, err := conn.ExecContext(ctx, statement)
		if err == nil || !strings.Contains(err.Error(), "Error 1205") {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrBusy, err)
		case <-time.After(pause + rand.N(pause)):
		}
	}
}

// stem begins the names of a table's triggers for a namespace.
func stem(t Trigger, table *table) string {
	return fmt.Sprintf("nearcache_%016x_", xxhash.Sum64String(table.name+"\x00"+t.Namespace))
}

// parts are the triggers of a table. A name tells what its trigger does, so that a changed one has another name.
func (s *Source) parts(t Trigger, table *table) (out []part) {
	for _, event := range events {
		body := "after " + event + " on " + table.ident() + " for each row begin " + s.body(t, table, event) + "end"
		name := fmt.Sprintf("%s%08x_%s", stem(t, table), uint32(xxhash.Sum64String(s.name+body)), event)
		out = append(out, part{event, name, "create trigger " + ident(table.schema) + "." + ident(name) + " " + body})
	}
	return out
}

func (s *Source) body(t Trigger, table *table, event string) string {
	count := func(key string, op coherence.Op) string {
		return s.q("call {db}.count_change(" + bytesLiteral(t.Namespace) + ", " + key + ", " + bytesLiteral(string(op)) +
			"); ")
	}
	switch event {
	case "insert":
		return count(table.keySQL("new", t.KeyColumns), coherence.OpCreated)
	case "delete":
		return count(table.keySQL("old", t.KeyColumns), coherence.OpDeleted)
	}
	changed := "true"
	for i, c := range t.Columns {
		changed = []string{"", changed + " or "}[min(i, 1)] + table.column(c).differs()
	}
	// Two names are one key if their bytes are equal.
	return "declare old_key varbinary(1024) default " + table.keySQL("old", t.KeyColumns) + "; " +
		"declare new_key varbinary(1024) default " + table.keySQL("new", t.KeyColumns) + "; " +
		"if old_key <=> new_key then if " + changed + " then " + count("new_key", coherence.OpUpdated) + "end if; " +
		"else " + count("old_key", coherence.OpDeleted) + count("new_key", coherence.OpCreated) + "end if; "
}

func ident(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func contains(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

// split returns a table's database and name. A name with a dot in it is written with backquotes, as in SQL.
func split(ctx context.Context, db querier, name string) (schema, table string, err error) {
	var parts []string
	for rest := name; rest != ""; {
		var p string
		if rest[0] == '`' {
			end := strings.IndexByte(rest[1:], '`')
			if end < 0 {
				return "", "", fmt.Errorf("the table's name %s has an open backquote", name)
			}
			p, rest = rest[1:end+1], rest[end+2:]
		} else {
			p, rest, _ = strings.Cut(rest, ".")
			rest = "." + rest
		}
		parts = append(parts, p)
		rest = strings.TrimPrefix(rest, ".")
	}
	switch len(parts) {
	case 1:
		var own sql.NullString
		if err := db.QueryRowContext(ctx, `select database()`).Scan(&own); err != nil {
			return "", "", err
		}
		if !own.Valid {
			return "", "", errors.New("the connection has no database: write the table's before its name")
		}
		return own.String, parts[0], nil
	case 2:
		return parts[0], parts[1], nil
	}
	return "", "", fmt.Errorf("the table's name %q has %d parts; put one with a dot in it into backquotes", name,
		len(parts))
}
