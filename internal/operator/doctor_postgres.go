package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// postgres looks at the database.
func (c *checkup) postgres(ctx context.Context) error {
	src, pool, closeIt, err := c.openSource(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	if !c.server(ctx, pool) {
		return nil
	}
	installed := c.triggers(ctx, src, pool)
	c.sessions(ctx, pool)
	c.openTransactions(ctx, pool)
	if !installed {
		return nil
	}
	c.rights(ctx, pool)
	c.watchedColumns(ctx, pool)
	c.outbox(ctx, src, pool)
	return nil
}

// server looks at the server itself. It is false if that cannot be used at all.
func (c *checkup) server(ctx context.Context, pool *pgxpool.Pool) bool {
	var version int
	var standby bool
	var user, name string
	var now time.Time
	asked := time.Now()
	err := pool.QueryRow(ctx, `select current_setting('server_version_num')::int, pg_is_in_recovery(), current_user,
		current_setting('server_version'), clock_timestamp()`).Scan(&version, &standby, &user, &name, &now)
	answered := time.Now()
	if err != nil {
		c.wrong("connect", "check the address, the user and the password, the network and TLS",
			"Postgres cannot be reached: %v", err)
		return false
	}
	c.ok("connect", "it answers %s", user)
	const least = 14_00_00
	if version < least {
		c.wrong("version", "use Postgres 14 or newer", "Postgres %s", name)
	} else {
		c.ok("version", "Postgres %s", name)
	}
	if standby {
		c.wrong("role", "give the address of the primary: a standby can be behind", "it is a standby")
	} else {
		c.ok("role", "it is a primary")
	}
	c.clock(now, asked, answered)
	return !standby
}

// sparing are findings by which a trigger counts all the same, and something else suffers.
var sparing = []string{coherence.FindingKeyNullable, coherence.FindingKeyNotUnique, coherence.FindingNoServerIdentity}

// triggers looks at the schema and at each trigger. It is false if the schema is not there.
func (c *checkup) triggers(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool) bool {
	found, err := src.Check(ctx)
	switch {
	case errors.Is(err, postgres.ErrNotInstalled):
		c.wrong("schema", "nearcache install --table T --namespace N --key COLUMN", "the schema %s is not installed",
			c.schema)
		return false
	case err != nil:
		c.wrong("schema", "grant what --as needs (nearcache install --grant-instance ROLE)", "%v", err)
		return false
	}
	bad := map[string]bool{} // tables
	for _, f := range found {
		switch {
		case f.Code == coherence.FindingSchemaVersion:
			c.wrong("schema", "run Install of the newer program", "%s", f.Text)
		case slices.Contains(sparing, f.Code):
			c.warn(f.Code, "", "%s", f.Text)
		default:
			bad[f.Subject] = true
			c.wrong(f.Code, "nearcache install for the table; until then changes are lost, so purge the namespace after it",
				"%s", f.Text)
		}
	}
	rows, err := pool.Query(ctx, c.in(`select t.table_name, t.namespace, array_to_string(t.key_columns, ', '),
		cardinality(t.partitions) from @@.triggers t order by 1, 2`))
	if err != nil {
		c.skip("trigger", "the triggers cannot be listed: %v", err)
		return true
	}
	var table, namespace, key string
	var partitions, n int
	_, err = pgx.ForEachRow(rows, []any{&table, &namespace, &key, &partitions}, func() error {
		n++
		if bad[table] {
			return nil
		}
		on := table
		if partitions > 0 {
			on += fmt.Sprintf(" and its %d partitions", partitions)
		}
		c.ok("trigger", "on %s: every change counts for the namespace %s, by %s", on, namespace, key)
		return nil
	})
	switch {
	case err != nil:
		c.skip("trigger", "the triggers cannot be listed: %v", err)
	case n == 0:
		c.warn("trigger", "nearcache install, unless every writer calls Bump", "no table has a trigger")
	}
	return true
}

// rights compares the user's rights with what it needs.
func (c *checkup) rights(ctx context.Context, pool *pgxpool.Pool) {
	needs := []struct{ object, right, ask string }{}
	for _, g := range grants[c.role] {
		words := strings.TrimPrefix(strings.TrimSuffix(c.in(g), " to $ROLE"), "grant ")
		rights, on, _ := strings.Cut(words, " on ")
		for right := range strings.SplitSeq(rights, ", ") {
			switch {
			case strings.HasPrefix(on, "schema "):
				needs = append(needs, struct{ object, right, ask string }{strings.TrimPrefix(on, "schema "), right,
					"has_schema_privilege"})
			case strings.HasPrefix(on, "function "):
				needs = append(needs, struct{ object, right, ask string }{strings.TrimPrefix(on, "function "), right,
					"has_function_privilege"})
			default:
				for table := range strings.SplitSeq(on, ", ") {
					needs = append(needs, struct{ object, right, ask string }{table, right, "has_table_privilege"})
				}
			}
		}
	}
	var missing []string
	for _, n := range needs {
		var has bool
		err := pool.QueryRow(ctx, "select "+n.ask+"($1, $2)", n.object, n.right).Scan(&has)
		if err != nil || !has {
			missing = append(missing, n.right+" on "+n.object)
		}
	}
	if len(missing) == 0 {
		c.ok("rights", "the user has what %s needs", article(c.role))
		return
	}
	var user string
	_ = pool.QueryRow(ctx, `select current_user`).Scan(&user)
	c.wrong("rights", fmt.Sprintf("nearcache install --grant-%s %s, as the owner; or --as names another role", c.role,
		user),
		"%s lacks what %s needs: %s", user, article(c.role), strings.Join(missing, "; "))
}

func article(role string) string {
	if role == "instance" {
		return "an instance"
	}
	return "a " + role
}

// watchedColumns finds columns of triggers that are gone: then the trigger counts every change.
func (c *checkup) watchedColumns(ctx context.Context, pool *pgxpool.Pool) {
	rows, err := pool.Query(ctx, c.in(`select t.table_name, x from @@.triggers t cross join lateral unnest(t.columns) x
		where exists (select from pg_class where oid = t.relation) and not exists (select from pg_attribute a
			where a.attrelid = t.relation and a.attname = x and a.attnum > 0 and not a.attisdropped) order by 1, 2`))
	if err != nil {
		c.skip("columns", "%v", err)
		return
	}
	var table, column string
	n := 0
	if _, err := pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		n++
		c.warn("columns", "nearcache install with the present columns", "%s has no column %s any more: every change counts",
			table, column)
		return nil
	}); err != nil {
		c.skip("columns", "%v", err)
	} else if n == 0 {
		c.ok("columns", "every column that a trigger compares is there")
	}
}

const (
	largeOutbox = 50_000        // rows
	oldOutbox   = 2 * time.Hour // twice what a relay keeps by default
	oldChange   = time.Minute   // of a change that is not relayed
)

// outbox looks at what the relay has to do.
func (c *checkup) outbox(ctx context.Context, src *postgres.Source, pool *pgxpool.Pool) {
	rows, oldest, err := c.outboxAfter(ctx, pool, 0)
	if err != nil {
		c.skip("outbox", "only a relay's user may read it: %v", err)
		return
	}
	const do = "a relay drops what every channel has passed: see nearcache relay status"
	switch {
	case rows >= largeOutbox:
		c.warn("outbox", do, "it has %s, the oldest of %s ago", counted(rows), short(oldest))
	case oldest > oldOutbox:
		c.warn("outbox", do, "it has %s, and the oldest is of %s ago", counted(rows), short(oldest))
	default:
		c.ok("outbox", "it has %s%s", counted(rows), since(oldest.Seconds()))
	}
	cursors, err := c.relayCursors(ctx, src, pool)
	if err != nil {
		c.skip("relay", "%v", err)
		return
	}
	now, err := src.Position(ctx)
	if err != nil {
		c.skip("relay", "%v", err)
		return
	}
	for _, cur := range cursors {
		c.relay(ctx, pool, cur, now)
	}
}

func (c *checkup) relay(ctx context.Context, pool *pgxpool.Pool, cur relayCursor, now coherence.Position) {
	l, err := c.leaderOf(ctx, pool, cur.Name)
	if err != nil {
		c.skip("relay", "%v", err)
		return
	}
	if l == nil {
		c.wrong("relay", "start a relay; if this one is not used any more, delete its row in "+c.schema+".cursors",
			"no relay %q is running", cur.Name)
		return
	}
	if cur.at.Timeline != now.Timeline {
		c.warn("relay", "look at the relay's log", "the relay %q is on another timeline than the database", cur.Name)
		return
	}
	rows, oldest, err := c.outboxAfter(ctx, pool, cur.at.N)
	switch {
	case err != nil:
		c.skip("relay", "%v", err)
	case oldest > oldChange:
		c.wrong("relay", "look at the relay's log, at Kafka, and at transactions that stay open",
			"the relay %q has %s to publish, the oldest of %s ago", cur.Name, counted(rows), short(oldest))
	default:
		c.ok("relay", "the relay %q is led by %s, and has %s to publish", cur.Name, l, counted(rows))
	}
}

// openTransactions finds what holds positions back: a change is settled when no older transaction is open.
func (c *checkup) openTransactions(ctx context.Context, pool *pgxpool.Pool) {
	rows, err := pool.Query(ctx, `select pid, coalesce(datname, ''), coalesce(usename, ''), coalesce(application_name, ''),
			coalesce(state, 'unknown'), extract(epoch from clock_timestamp() - xact_start)::float8
		from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
			and xact_start < clock_timestamp() - $1 * interval '1 second'
		union all select 0, database, owner, gid, 'prepared', extract(epoch from clock_timestamp() - prepared)::float8
		from pg_prepared_xacts where prepared < clock_timestamp() - $1 * interval '1 second' order by 6 desc limit 5`,
		c.longOpen.Seconds())
	if err != nil {
		c.skip("open transactions", "%v", err)
		return
	}
	var pid, n int
	var database, user, application, state string
	var age float64
	_, err = pgx.ForEachRow(rows, []any{&pid, &database, &user, &application, &state, &age}, func() error {
		n++
		what, do := fmt.Sprintf("session %d of %s", pid, application), "end it: select pg_terminate_backend(%d); and set "+
			"idle_in_transaction_session_timeout"
		if state == "prepared" {
			what, do = fmt.Sprintf("the prepared transaction %q", application), "commit or roll it back"
		} else {
			do = fmt.Sprintf(do, pid)
		}
		c.wrong("open transactions", do, "%s (%s, user %s, database %s) has written and is open for %s: nothing that was "+
			"committed after it began is relayed", what, state, user, database, seconds(age))
		return nil
	})
	if err != nil {
		c.skip("open transactions", "%v", err)
	} else if n == 0 {
		c.ok("open transactions", "none has written and is open for more than %v", c.longOpen)
	}
}

// sessions finds roles and databases whose sessions begin in the replica role.
func (c *checkup) sessions(ctx context.Context, pool *pgxpool.Pool) {
	var replica string
	err := pool.QueryRow(ctx, `select coalesce(string_agg(concat_ws(' in ', coalesce(r.rolname, 'every role'),
			coalesce(d.datname, 'every database')), '; '), '')
		from pg_db_role_setting s left join pg_roles r on r.oid = s.setrole left join pg_database d on d.oid = s.setdatabase
		where exists (select from unnest(s.setconfig) x where x ilike 'session_replication_role=replica')`).Scan(&replica)
	if err != nil {
		c.skip("replication role", "%v", err)
		return
	}
	if replica != "" {
		c.warn("replication role",
			"reset session_replication_role for them, unless that is meant: our triggers fire all the "+
				"same (enable always), other triggers and foreign keys do not", "sessions begin as replicas: %s", replica)
		return
	}
	c.ok("replication role", "no session begins as a replica; the triggers fire in both roles")
}
