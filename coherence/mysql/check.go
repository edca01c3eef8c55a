package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nearcache/nearcache-go/coherence"
)

// Codes of findings that this source has beside those of package coherence.
const (
	FindingTableRemade = "table_remade"        // the table was truncated, restored or altered since its trigger
	FindingCascade     = "foreign_key_cascade" // a foreign key changes rows and fires no trigger
)

// Check finds triggers that are missing, and what their tables hide from them. It reads catalogs only.
func (s *Source) Check(ctx context.Context) ([]coherence.Finding, error) {
	found, err := s.check(ctx)
	return found, s.fault("check", err)
}

func (s *Source) check(ctx context.Context) (found []coherence.Finding, err error) {
	version, err := s.installed(ctx, s.db)
	switch {
	case err != nil:
		return nil, err
	case version == 0:
		return nil, fmt.Errorf("database %s: %w", s.name, ErrNotInstalled)
	case version != schemaVersion:
		return []coherence.Finding{{Code: coherence.FindingSchemaVersion, Subject: s.name,
			Text: fmt.Sprintf("database %s has version %d and the program knows %d: call Install of the newer program",
				s.name, version, schemaVersion)}}, nil
	}
	triggers, err := s.registered(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range triggers {
		seen, err := s.look(ctx, r.schema, r.table)
		if err != nil {
			return nil, err
		}
		found = append(found, r.judge(seen)...)
	}
	return found, nil
}

// registration is a table and a namespace that InstallTrigger was called for.
type registration struct {
	schema, table, namespace, made string
	names                          []string // of its triggers
	keys                           []string // its key columns
}

// catalog is what the catalogs say of a registered table now.
type catalog struct {
	there, cascades bool
	made            string
	triggers        []string
	columns         table // what decides whether they can be keys, and nothing else
}

func (s *Source) look(ctx context.Context, schema, name string) (c catalog, err error) {
	var there, cascades int
	var triggers string
	var columns []byte
	err = s.db.QueryRowContext(ctx, s.q(`call {db}.check_table(?, ?)`), schema, name).Scan(&there, &c.made, &triggers,
		&cascades, &columns)
	if err != nil {
		return c, err
	}
	var parts [][5]string
	if err := json.Unmarshal(columns, &parts); err != nil {
		return c, fmt.Errorf("the columns of %s.%s: %w", schema, name, err)
	}
	for _, p := range parts {
		c.columns.columns = append(c.columns.columns, column{name: p[0], dataType: p[1], columnType: p[1] + " " + p[2],
			collation: p[3], nullable: p[4] == "YES"})
	}
	c.there, c.cascades, c.triggers = there > 0, cascades > 0, strings.Fields(triggers)
	return c, nil
}

func (s *Source) registered(ctx context.Context) (all []registration, err error) {
	rows, err := s.db.QueryContext(ctx, s.q(`select table_schema, table_name, namespace,
			group_concat(trigger_name separator ' '), min(table_made), min(key_columns)
		from {db}.triggers group by 1, 2, 3 order by 1, 2, 3`))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r registration
		var names string
		var keys []byte
		if err := rows.Scan(&r.schema, &r.table, &r.namespace, &names, &r.made, &keys); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(keys, &r.keys); err != nil {
			return nil, fmt.Errorf("the key columns of %s.%s: %w", r.schema, r.table, err)
		}
		r.names = strings.Fields(names)
		all = append(all, r)
	}
	return all, rows.Err()
}

// judge says what is wrong with a table as the catalogs show it.
func (r registration) judge(now catalog) (found []coherence.Finding) {
	add := func(code, text string) {
		found = append(found, coherence.Finding{Code: code, Subject: r.schema + "." + r.table, Namespace: r.namespace,
			Text: fmt.Sprintf("table %s.%s, namespace %s: %s", r.schema, r.table, r.namespace, text)})
	}
	missing := slices.ContainsFunc(r.names, func(name string) bool { return !slices.Contains(now.triggers, name) })
	switch {
	case !now.there:
		add(coherence.FindingTableMissing,
			"the table does not exist any more: create it and install the trigger again, or remove it")
		return found
	case missing:
		add(coherence.FindingTriggerMissing, "a trigger was dropped: install the trigger again")
	case now.made != r.made:
		add(FindingTableRemade, "the table was truncated, restored or altered, and rows may have changed uncounted: "+
			"clear the caches of the namespace, then install the trigger again")
	}
	if err := now.columns.acceptKeys(r.keys); err != nil {
		add(coherence.FindingKeyColumnChanged, err.Error()+"; then install the trigger again")
	}
	if now.cascades {
		add(FindingCascade, "a foreign key changes rows when the table that it refers to changes, and fires no trigger: "+
			"use RESTRICT, and delete or update the rows by a statement")
	}
	return found
}
