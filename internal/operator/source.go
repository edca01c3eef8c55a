package operator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// in puts the schema's name into a statement. openSource has checked it.
func (t *tool) in(sql string) string { return strings.ReplaceAll(sql, "@@", t.schema) }

// relayCursor is how far a relay has published to Kafka.
type relayCursor struct {
	Name     string   `json:"name"`
	Position string   `json:"position"`
	Seqs     []uint64 `json:"sequence_numbers"`
	Behind   int64    `json:"behind_rows"`
	Oldest   float64  `json:"oldest_seconds"` // age of the oldest change that is not published; 0: none
	Leader   *leader  `json:"leader,omitempty"`

	at coherence.Position
}

// leader is the process that leads the relays of a name.
type leader struct {
	Holder      string  `json:"holder"`        // its host and process
	PID         int     `json:"pid,omitempty"` // of its session; 0 behind a pooler
	Application string  `json:"application,omitempty"`
	Address     string  `json:"address,omitempty"`
	Renewed     float64 `json:"renewed_seconds"` // since it renewed its lease
}

// relayCursors are all cursors, by name.
func (t *tool) relayCursors(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool) ([]relayCursor, error) {
	rows, err := pool.Query(ctx, t.in(`select name from @@.cursors order by name`))
	if err != nil {
		return nil, fmt.Errorf("the relays' cursors: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("the relays' cursors: %w", err)
	}
	all := make([]relayCursor, len(names))
	for i, name := range names {
		c, err := src.LoadCursor(ctx, name)
		if err != nil {
			return nil, err
		}
		all[i] = relayCursor{Name: name, Position: c.Position.String(), Seqs: c.Seqs, at: c.Position}
	}
	return all, nil
}

// mostCounted bounds what is counted of the outbox: whoever looks needs no exact number of millions.
const mostCounted = 100_000

// outboxAfter counts the changes after a position, up to mostCounted, and says how old the first of them is.
func (t *tool) outboxAfter(ctx context.Context, pool *pgxpool.Pool, n uint64) (rows int64, oldest time.Duration,
	err error) {
	var seconds float64
	after := strconv.FormatUint(n, 10)
	err = pool.QueryRow(ctx, t.in(`select
			(select count(*) from (select from @@.outbox where xid >= $1::text::xid8 limit $2) o),
			coalesce((select extract(epoch from clock_timestamp() - created_at) from @@.outbox
				where xid >= $1::text::xid8 order by xid, id limit 1), 0)::float8`), after, mostCounted).
		Scan(&rows, &seconds)
	if err != nil {
		return 0, 0, fmt.Errorf("the outbox: %w", err)
	}
	return rows, time.Duration(seconds * float64(time.Second)), nil
}

// silentLeader is after how long a leader that renews no more counts as none. It renews each second.
const silentLeader = 5

// leaderOf is the process that leads the relays of a name, nil if none does: the holder of the lease that
// postgres.Source.Lead takes, unless its session has ended.
func (t *tool) leaderOf(ctx context.Context, pool *pgxpool.Pool, name string) (*leader, error) {
	var l leader
	err := pool.QueryRow(ctx, t.in(`select l.holder, coalesce(l.session, 0), coalesce(a.application_name, ''),
			coalesce(host(a.client_addr), ''), greatest(0, extract(epoch from clock_timestamp() - l.renewed_at))::float8
		from @@.leaders l left join pg_stat_activity a on a.pid = l.session
			and (a.backend_start = l.session_began or a.backend_start is null)
		where l.name = $1 and l.holder <> '' and (l.session is null or a.pid is not null)
			and l.renewed_at > clock_timestamp() - $2 * interval '1 second'`), name, silentLeader).
		Scan(&l.Holder, &l.PID, &l.Application, &l.Address, &l.Renewed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the leader of %q: %w", name, err)
	}
	return &l, nil
}

// String is a leader as people look for it.
func (l *leader) String() string {
	if l.PID == 0 {
		return l.Holder + " (through a pooler)"
	}
	s := fmt.Sprintf("session %d", l.PID)
	if l.Application != "" {
		s += " of " + l.Application
	}
	if l.Address != "" {
		s += " at " + l.Address
	}
	return s + " (" + l.Holder + ")"
}
