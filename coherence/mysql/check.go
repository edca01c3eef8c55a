package mysql

import (
	"context"
	"fmt"

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
	rows, err := s.db.QueryContext(ctx, s.q(`call {db}.check_triggers()`))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var schema, name, namespace string
		var there, complete, remade, cascades bool
		if err := rows.Scan(&schema, &name, &namespace, &there, &complete, &remade, &cascades); err != nil {
			return nil, err
		}
		add := func(code, text string) {
			found = append(found, coherence.Finding{Code: code, Subject: schema + "." + name, Namespace: namespace,
				Text: fmt.Sprintf("table %s.%s, namespace %s: %s", schema, name, namespace, text)})
		}
		switch {
		case !there:
			add(coherence.FindingTableMissing,
				"the table does not exist any more: create it and install the trigger again, or remove it")
			continue
		case !complete:
			add(coherence.FindingTriggerMissing, "a trigger was dropped: install the trigger again")
		case remade:
			add(FindingTableRemade, "the table was truncated, restored or altered, and rows may have changed uncounted: "+
				"clear the caches of the namespace, then install the trigger again")
		}
		if cascades {
			add(FindingCascade, "a foreign key changes rows when the table that it refers to changes, and fires no trigger: "+
				"use RESTRICT, and delete or update the rows by a statement")
		}
	}
	return found, rows.Err()
}
