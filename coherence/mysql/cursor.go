package mysql

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nearcache/nearcache-go/coherence"
)

// LoadCursor reads a relay's cursor.
func (s *Source) LoadCursor(ctx context.Context, name string) (c coherence.Cursor, err error) {
	var seqs []byte
	err = s.db.QueryRowContext(ctx, s.q(`select timeline, n, part, seqs from {db}.cursors where name = ?`),
		name).Scan(&c.Position.Timeline, &c.Position.N, &c.Position.Part, &seqs)
	if errors.Is(err, sql.ErrNoRows) {
		return coherence.Cursor{}, nil
	}
	if err == nil {
		err = json.Unmarshal(seqs, &c.Seqs)
	}
	if err != nil {
		return coherence.Cursor{}, s.fault("cursor "+name, err)
	}
	return c, nil
}

// SaveCursor writes a relay's cursor, unless that would move it back within a timeline: a relay that lost its
// leadership without knowing has nothing to say. If this Source has led the relays of that name, it also refuses once
// another one has led them since.
func (s *Source) SaveCursor(ctx context.Context, name string, c coherence.Cursor) error {
	seqs, err := json.Marshal(c.Seqs)
	if err != nil {
		return err
	}
	p, term := c.Position, s.term(name)
	// The count of saves makes every update change something, which the server's count of rows goes by.
	saved, err := s.changed(ctx, `update {db}.cursors set saves = saves + 1, timeline = ?, n = ?, part = ?, seqs = ?
		where name = ? and (timeline <> ? or n < ? or n = ? and part <= ?)
			and (? = 0 or ? = (select l.term from {db}.leaders l where l.name = ? lock in share mode))`,
		int64(p.Timeline), int64(p.N), int64(p.Part), string(seqs), name,
		int64(p.Timeline), int64(p.N), int64(p.N), int64(p.Part), term, term, name)
	if err == nil && !saved {
		saved, err = s.changed(ctx, `insert ignore into {db}.cursors values (?, ?, ?, ?, ?, 0)`, name,
			int64(p.Timeline), int64(p.N), int64(p.Part), string(seqs))
	}
	switch {
	case err != nil:
		return s.fault("cursor "+name, err)
	case !saved:
		return fmt.Errorf("mysql: another relay is at work: cursor %q is past %v already, or its leader is another one",
			name, p)
	}
	return nil
}

// changed runs a statement and reports whether it changed a row.
func (s *Source) changed(ctx context.Context, query string, args ...any) (bool, error) {
	res, err := s.db.ExecContext(ctx, s.q(query), args...)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
