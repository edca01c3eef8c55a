//go:build unix

package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/mysql"
	"github.com/nearcache/nearcache-go/internal/chaos/history"
	"github.com/nearcache/nearcache-go/internal/services/local"
	"github.com/nearcache/nearcache-go/nearcache"
)

// mariadbSchema is the tables and the ground truth. A table's triggers fire in the order in which they were made, so
// those of the ground truth come after nearcache's, which count the version.
var mariadbSchema = []string{
	`create table if not exists items (id bigint primary key, body text not null)`,
	`create table if not exists bulk (id bigint primary key, n bigint not null)`,
	`create table if not exists nc_history (id bigint auto_increment primary key, item bigint not null,
		version bigint not null, body text, number bigint not null)`,
}

const mariadbTruth = `create or replace trigger zz_history_%[1]s after %[1]s on items for each row
	insert into nc_history (item, version, body, number)
		select %[2]s.id, v.version, %[3]s, coalesce(@chaos_write, 0) from nearcache.versions v
			where v.namespace = 'item' and v.k = cast(%[2]s.id as char)`

// mariadbStore is the items in MariaDB.
type mariadbStore struct {
	db     *sql.DB
	source *mysql.Source
	dsn    string
}

// mariadbName is the database of the items.
const mariadbName = "chaos"

// mariadbDSN is where a member, or the controller (""), finds the items.
func mariadbDSN(addr, member string) string {
	if member == "" {
		member = "root"
	}
	return member + strings.TrimPrefix(local.MariaDBDSN(addr, mariadbName), "root") + "?timeout=1s"
}

func openMariaDB(dsn string, conns int) (*mariadbStore, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	src, err := mysql.New(db, mysql.Config{})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &mariadbStore{db: db, source: src, dsn: dsn}, nil
}

func (s *mariadbStore) truth() coherence.Source { return s.source }

func (s *mariadbStore) close() { _ = s.db.Close() }

func (s *mariadbStore) install(ctx context.Context, keys int) error {
	if err := makeDatabase(ctx, s.dsn); err != nil {
		return err
	}
	if err := s.source.Install(ctx); err != nil {
		return err
	}
	if err := s.exec(ctx, mariadbSchema...); err != nil {
		return err
	}
	for table, ns := range map[string]string{"items": namespace, "bulk": "bulk"} {
		tr := mysql.Trigger{Table: table, Namespace: ns, KeyColumns: []string{"id"}}
		if err := s.source.InstallTrigger(ctx, tr); err != nil {
			return err
		}
	}
	return s.exec(ctx, fmt.Sprintf(mariadbTruth, "insert", "new", "new.body"),
		fmt.Sprintf(mariadbTruth, "update", "new", "new.body"), fmt.Sprintf(mariadbTruth, "delete", "old", "null"),
		fmt.Sprintf(`insert ignore into bulk select seq, 0 from seq_0_to_%d`, keys-1),
		fmt.Sprintf(`insert ignore into items select seq, concat('first of ', seq) from seq_0_to_%d`, keys-1))
}

// makeDatabase makes the database of the items, over a connection that names none.
func makeDatabase(ctx context.Context, dsn string) error {
	db, err := sql.Open("mysql", strings.Replace(dsn, "/"+mariadbName+"?", "/?", 1))
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "create database if not exists "+mariadbName)
	return errors.Join(err, db.Close())
}

func (s *mariadbStore) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("chaos: %.60s: %w", statement, err)
		}
	}
	return nil
}

// accounts makes an account for each member, by which the source tells them apart.
func (s *mariadbStore) accounts(ctx context.Context, members []string) error {
	for _, m := range members {
		if err := s.exec(ctx, fmt.Sprintf("create user if not exists '%s'@'%%'", m),
			fmt.Sprintf("grant all on *.* to '%s'@'%%'", m)); err != nil {
			return err
		}
	}
	return nil
}

func (s *mariadbStore) load(ctx context.Context, k uint32) (nearcache.Entry[item], error) {
	var version uint64
	var body sql.NullString
	err := s.db.QueryRowContext(ctx, `select `+s.source.VersionSQL(namespace, "?")+`, i.body from (select 1) one
		left join items i on i.id = ?`, strconv.FormatUint(uint64(k), 10), int64(k)).Scan(&version, &body)
	switch {
	case err != nil:
		return nearcache.Entry[item]{}, err
	case !body.Valid:
		return nearcache.Entry[item]{Version: nearcache.Version(version)}, nearcache.ErrNotFound
	}
	return nearcache.Entry[item]{Value: item{Version: version, Body: body.String},
		Version: nearcache.Version(version)}, nil
}

func (s *mariadbStore) bulk(ctx context.Context, k uint32) (e nearcache.Entry[int64], err error) {
	err = s.db.QueryRowContext(ctx, `select `+s.source.VersionSQL("bulk", "?")+`, n from bulk where id = ?`,
		strconv.FormatUint(uint64(k), 10), int64(k)).Scan(&e.Version, &e.Value)
	return e, err
}

func (s *mariadbStore) write(ctx context.Context, changes []change, open time.Duration) ([]uint64, error) {
	return s.commit(ctx, changes, func(*sql.Tx) error { return nil }, open)
}

func (s *mariadbStore) large(ctx context.Context, from, upto int, changes []change) ([]uint64, error) {
	return s.commit(ctx, changes, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, fillSQL(from, upto))
		return err
	}, 0)
}

// commit writes items after what first does, in one transaction.
func (s *mariadbStore) commit(ctx context.Context, changes []change, first func(*sql.Tx) error, open time.Duration) (
	versions []uint64, err error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := first(tx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNothing, err)
	}
	for _, c := range changes {
		v, err := s.put(ctx, tx, c)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNothing, err)
		}
		versions = append(versions, v)
	}
	if open > 0 {
		pause(ctx, open)
	}
	return versions, tx.Commit()
}

func (s *mariadbStore) put(ctx context.Context, tx *sql.Tx, c change) (uint64, error) {
	if _, err := tx.ExecContext(ctx, `set @chaos_write = ?`, int64(c.number)); err != nil {
		return 0, err
	}
	query := `insert into items values (?, ?) on duplicate key update body = values(body)`
	args := []any{int64(c.key), c.body}
	if c.body == "" {
		query, args = `delete from items where id = ?`, args[:1]
	}
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return 0, errors.Join(err, errors.New("it is deleted already"))
	}
	v, err := s.source.VersionOf(ctx, tx, namespace, strconv.FormatUint(uint64(c.key), 10))
	return uint64(v), err
}

func fillSQL(from, upto int) string {
	return fmt.Sprintf(`insert into bulk select seq, 1 from seq_%d_to_%d on duplicate key update n = n + 1`, from, upto)
}

func (s *mariadbStore) fill(ctx context.Context, from, upto int) error {
	return s.exec(ctx, fillSQL(from, upto))
}

// leader goes by the account that took the lease.
func (s *mariadbStore) leader(ctx context.Context) (name string, err error) {
	err = s.db.QueryRowContext(ctx, `select holder from nearcache.leaders
		where holder <> '' and renewed_at > utc_timestamp(6) - interval 4 second limit 1`).
		Scan(&name)
	name, _, _ = strings.Cut(name, "@")
	return name, err
}

func (s *mariadbStore) commits(ctx context.Context) (out []history.Commit, err error) {
	rows, err := s.db.QueryContext(ctx, `select item, version, body, number from nc_history`)
	if err != nil {
		return nil, fmt.Errorf("chaos: ground truth: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var key, version, number int64
		var body sql.NullString
		if err := rows.Scan(&key, &version, &body, &number); err != nil {
			return nil, fmt.Errorf("chaos: ground truth: %w", err)
		}
		c := history.Commit{Key: uint32(key), Version: uint64(version), Write: uint64(number), Deleted: !body.Valid}
		if body.Valid {
			c.Hash = hashOf(body.String)
		}
		out = append(out, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("chaos: ground truth: %w", err)
	}
	return out, nil
}

// mariadbFaults are what can happen to the source.
func mariadbFaults() []fault {
	db := func(in *injection) *sql.DB { return in.store.(*mariadbStore).db }
	holds := func(queries ...string) func(context.Context, *injection) error {
		return func(ctx context.Context, in *injection) error {
			tx, err := db(in).BeginTx(context.WithoutCancel(ctx), nil)
			if err != nil {
				return err
			}
			in.heal(func(context.Context) error { return tx.Rollback() })
			for _, q := range queries {
				if _, err := tx.ExecContext(ctx, q); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return []fault{
		{"mariadb: kill -9", func(_ context.Context, in *injection) error {
			in.source.Kill()
			in.heal(func(ctx context.Context) error { return in.source.Restart(ctx) })
			return nil
		}, 100 * time.Millisecond, time.Second},
		// Nothing after its id is settled while it is open.
		{"mariadb: a transaction stays open", holds(`call nearcache.count_change('idle', 'k', 'updated')`),
			2 * time.Second, 4 * time.Second},
		// Writers have ids and cannot insert their rows: the gap at the outbox's end is locked.
		{"mariadb: ids without rows", holds(`select count(*) into @n from nearcache.outbox where id > (
			select max(id) from nearcache.outbox) for update`), 300 * time.Millisecond, 1500 * time.Millisecond},
		{"mariadb: all connections end", func(_ context.Context, in *injection) error {
			in.repeat(func(ctx context.Context) { endConnections(ctx, db(in)) })
			return nil
		}, 100 * time.Millisecond, 500 * time.Millisecond},
	}
}

// endConnections ends those of the fleet. One that is gone already need not end.
func endConnections(ctx context.Context, db *sql.DB) {
	rows, err := db.QueryContext(ctx, `select id from information_schema.processlist where user <> 'root'
		and id <> connection_id() and user <> 'system user'`)
	if err != nil {
		return
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if rows.Scan(&id) == nil {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		_, _ = db.ExecContext(ctx, fmt.Sprintf("kill connection %d", id))
	}
}
