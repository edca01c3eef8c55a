package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

//go:embed schema.sql
var schemaSQL string

// schemaVersion is that of schema.sql. Its statements may be run over an older version of themselves.
const schemaVersion = 3

// installMode is the sql_mode of what Install and InstallTrigger create. The server keeps it with procedures and
// triggers, so a key that is too long fails whatever the writer's own mode is, and is never cut. The collation is kept
// with them too, and says which bytes a text in them is.
const (
	installMode      = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
	installCollation = "utf8mb4_bin"
)

// engine returns the statement by which describe_table learns from the storage engine which file a table has: TRUNCATE
// makes another. It needs the right PROCESS. Without it there is none, and TRUNCATE is not noticed.
func engine(ctx context.Context, db querier) string {
	for _, catalog := range []string{"innodb_sys_tables", "innodb_tables"} { // MariaDB's name, and MySQL's
		_, err := db.ExecContext(ctx, "do (select count(*) from information_schema."+catalog+" where false)")
		if err == nil {
			return "select concat(count(*), '/', coalesce(max(i.table_id), 0)) into o_engine from information_schema." +
				catalog + " i where i.name = concat(p_schema, '/', p_table)\n" +
				"\t\tor i.name like concat(p_schema, '/', p_table, '#p#%');"
		}
	}
	return ""
}

// statements are those of schema.sql, in order.
func (s *Source) statements(engine string) (out []string) {
	for _, part := range strings.Split(strings.ReplaceAll(s.q(schemaSQL), "{engine}", engine), "\n;\n") {
		var lines []string
		for _, line := range strings.Split(part, "\n") {
			if !strings.HasPrefix(line, "--") {
				lines = append(lines, line)
			}
		}
		if statement := strings.TrimSpace(strings.Join(lines, "\n")); statement != "" {
			out = append(out, statement)
		}
	}
	return out
}

// InstallSQL are the statements that Install runs on this server, for the mysql client. They also draw the source's
// name.
func (s *Source) InstallSQL(ctx context.Context) string {
	var b strings.Builder
	fmt.Fprintf(&b, "set session collation_connection = %s, session sql_mode = '%s';\ndelimiter //\n",
		installCollation, installMode)
	for _, statement := range s.statements(engine(ctx, s.db)) {
		b.WriteString(statement + "//\n")
	}
	fmt.Fprintf(&b, "delimiter ;\n%s;\n", s.q(fmt.Sprintf(`insert ignore into {db}.meta values (1, %d, uuid(),
	cast(conv(substring(md5(uuid()), 1, 15), 16, 10) as unsigned) | 1, 0)`, schemaVersion)))
	return b.String()
}

// Install creates the source's database. It may be called at every start: it only reads when nothing changed. The
// account needs all rights on the database, and PROCESS if Check shall notice TRUNCATE. It must stay, since procedures
// run as the account that made them. With the binary log on, MySQL also asks for log_bin_trust_function_creators.
func (s *Source) Install(ctx context.Context) error {
	if err := s.fit(ctx, s.db); err != nil {
		return s.fault("install", err)
	}
	version, err := s.installed(ctx, s.db)
	switch {
	case err != nil:
		return s.fault("install", err)
	case version > schemaVersion:
		return s.fault("install", s.newer(version))
	case version == schemaVersion:
		return nil
	}
	return s.fault("install", s.alone(ctx, s.create))
}

func (s *Source) create(ctx context.Context, conn *sql.Conn) error {
	version, err := s.installed(ctx, conn) // another process may have been quicker
	switch {
	case err != nil:
		return err
	case version > schemaVersion:
		return s.newer(version)
	case version == schemaVersion:
		return nil
	}
	for _, statement := range s.statements(engine(ctx, conn)) {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	timeline, err := drawTimeline()
	if err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, s.q(`insert into {db}.meta values (1, ?, ?, ?, 0)
		on duplicate key update schema_version = values(schema_version)`), schemaVersion, rand.Text(), timeline)
	return err
}

// alone runs f on a connection while no other process installs, in the mode of installation.
func (s *Source) alone(ctx context.Context, f func(context.Context, *sql.Conn) error) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	lock := s.name + " nearcache install"
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, `select get_lock(?, 60)`, lock).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return fmt.Errorf("another process installs: %w", ErrBusy)
	}
	var mode, collation string
	var lockWait int64
	err = conn.QueryRowContext(ctx, `select @@session.sql_mode, @@session.collation_connection,
		@@session.lock_wait_timeout`).Scan(&mode, &collation, &lockWait)
	if err == nil { // first: MySQL reads the other settings' values by it
		_, err = conn.ExecContext(ctx, `set session collation_connection = `+installCollation)
	}
	set := func(ctx context.Context, mode string, lockWait int64) error {
		_, err := conn.ExecContext(ctx, `set session sql_mode = ?, session lock_wait_timeout = ?`, mode, lockWait)
		return err
	}
	if err == nil {
		err = set(ctx, installMode, 1)
	}
	if err == nil {
		err = f(ctx, conn)
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var back error
	if collation != "" { // the settings were read
		back = set(end, mode, lockWait)
		_, last := conn.ExecContext(end, `set session collation_connection = `+collation)
		back = errors.Join(back, last)
	}
	_, free := conn.ExecContext(end, `do release_lock(?)`, lock)
	return errors.Join(err, back, free)
}

func (s *Source) newer(version int) error {
	return fmt.Errorf("%w: database %s has version %d, the program knows %d", ErrNewerSchema, s.name, version,
		schemaVersion)
}

// installed is the version of the tables that are there, 0 if there are none.
func (s *Source) installed(ctx context.Context, db querier) (version int, err error) {
	var n int
	err = db.QueryRowContext(ctx, `select count(*) from information_schema.tables
		where table_schema = ? and table_name = 'meta'`, s.name).Scan(&n)
	if err != nil || n == 0 {
		return 0, err
	}
	err = db.QueryRowContext(ctx, s.q(`select schema_version from {db}.meta`)).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return version, err
}

// drawTimeline is never 0: the zero Position means something else.
func drawTimeline() (int64, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return 0, err
	}
	return n.Int64() | 1, nil
}

// NewTimeline says that the database's history was replaced, for example by a dump: positions from before are void, and
// every cache drops what it has. A restart and another server are noticed without it. Call it after a restore, before
// anything reads the database.
func (s *Source) NewTimeline(ctx context.Context) error {
	timeline, err := drawTimeline()
	if err == nil {
		_, err = s.db.ExecContext(ctx, s.q(`update {db}.meta set timeline = ?`), timeline)
	}
	return s.fault("new timeline", err)
}

// Identity is a random name that Install gave the database. A copy of it has the same.
func (s *Source) Identity(ctx context.Context) (id string, err error) {
	err = s.db.QueryRowContext(ctx, s.q(`select identity from {db}.meta`)).Scan(&id)
	return id, s.fault("identity", err)
}

// settings are the server's variables that decide whether it can be a source. A server has those that it knows.
const settings = `show variables where variable_name in ('version', 'tx_isolation', 'transaction_isolation', 'wsrep_on',
	'group_replication_single_primary_mode', 'information_schema_stats_expiry')`

// fit finds out once whether the order of changes can be known on this server.
func (s *Source) fit(ctx context.Context, db querier) error {
	s.mu.Lock()
	probed := s.probed
	s.mu.Unlock()
	if probed {
		return nil
	}
	rows, err := db.QueryContext(ctx, settings)
	if err != nil {
		return err
	}
	defer rows.Close()
	found := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		found[name] = value
	}
	if err := errors.Join(rows.Err(), unfit(found)); err != nil {
		return err
	}
	s.mu.Lock()
	s.probed = true
	s.mu.Unlock()
	return nil
}

// unfit says why a server with these settings cannot be a source.
func unfit(found map[string]string) error {
	var major, minor int
	if _, err := fmt.Sscanf(found["version"], "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("%w: its version %q is not understood", ErrUnsupported, found["version"])
	}
	maria := strings.Contains(found["version"], "MariaDB")
	isolation := found["transaction_isolation"] + found["tx_isolation"]
	switch {
	case maria && (major < 10 || major == 10 && minor < 6), !maria && major < 8:
		return fmt.Errorf("%w: it is version %s; MariaDB 10.6 or MySQL 8.0 is the oldest", ErrUnsupported,
			found["version"])
	case strings.HasPrefix(isolation, "READ-UNCOMMITTED"):
		return fmt.Errorf("%w: transaction_isolation is READ-UNCOMMITTED; open the database with READ-COMMITTED or "+
			"REPEATABLE-READ", ErrUnsupported)
	case found["information_schema_stats_expiry"] != "" && found["information_schema_stats_expiry"] != "0":
		return fmt.Errorf("%w: information_schema_stats_expiry is %s, so the server shows old ids; open the database with "+
			"information_schema_stats_expiry=0", ErrUnsupported, found["information_schema_stats_expiry"])
	case found["wsrep_on"] == "ON":
		return fmt.Errorf("%w: wsrep_on: servers of a Galera cluster give out ids each in an order of its own",
			ErrUnsupported)
	case found["group_replication_single_primary_mode"] == "OFF":
		return fmt.Errorf("%w: group_replication_single_primary_mode is OFF: each server gives out ids in an order of "+
			"its own", ErrUnsupported)
	}
	return nil
}
