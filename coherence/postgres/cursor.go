package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/coherence"
)

// LoadCursor reads a relay's cursor.
func (s *Source) LoadCursor(ctx context.Context, name string) (c coherence.Cursor, err error) {
	pool, err := s.feed()
	if err != nil {
		return c, s.fault("cursor "+name, err)
	}
	var timeline, n, part, seqs string
	err = pool.QueryRow(ctx,
		s.q(`select timeline::text, n::text, part::text, seqs::text from @@.cursors where name = $1`),
		name).Scan(&timeline, &n, &part, &seqs)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, nil
	}
	if err == nil {
		c.Position.Timeline, err = strconv.ParseUint(timeline, 10, 64)
	}
	if err == nil {
		c.Position.N, err = strconv.ParseUint(n, 10, 64)
	}
	if err == nil {
		c.Position.Part, err = strconv.ParseUint(part, 10, 64)
	}
	if err == nil {
		err = json.Unmarshal([]byte(seqs), &c.Seqs)
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
	pool, err := s.feed()
	if err != nil {
		return s.fault("cursor "+name, err)
	}
	seqs, err := json.Marshal(c.Seqs)
	if err != nil {
		return err
	}
	decimal := func(n uint64) string { return strconv.FormatUint(n, 10) }
	values := []any{name, decimal(c.Position.Timeline), decimal(c.Position.N), decimal(c.Position.Part), string(seqs)}
	const row = `$1, $2::text::numeric, $3::text::numeric, $4::text::numeric, $5::text::jsonb`
	from := ""
	if term := s.term(name); term > 0 {
		// The lock makes a take-over wait for this statement, or this statement see it.
		from = `from (select term from @@.leaders where name = $1 for share) l where l.term = $6::bigint`
		values = append(values, int64(term))
	}
	tag, err := pool.Exec(ctx, s.q(`insert into @@.cursors as c (name, timeline, n, part, seqs) select `+row+` `+from+`
		on conflict (name) do update
			set timeline = excluded.timeline, n = excluded.n, part = excluded.part, seqs = excluded.seqs
			where c.timeline <> excluded.timeline or (c.n, c.part) <= (excluded.n, excluded.part)`), values...)
	if err != nil {
		return s.fault("cursor "+name, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("postgres: another relay is at work: cursor %q is past %v already, or its leader is another one",
			name, c.Position)
	}
	return nil
}
